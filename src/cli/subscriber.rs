//! `tandem subscriber`: who may register, changed in the store beside a running switch.

use std::time::Duration;

use super::{Failure, SubscriberChange};
use crate::config::Config;
use crate::store::{Store, new_password};

pub(super) async fn change(config: &Config, change: &SubscriberChange) -> Result<(), Failure> {
    let store = Store::open(&config.data_dir, config.store_url()).await?;
    let outcome = apply(&store, &config.brain.domain, change).await;
    store.close(Duration::from_secs(1)).await;
    outcome
}

async fn apply(store: &Store, domain: &str, change: &SubscriberChange) -> Result<(), Failure> {
    match change {
        SubscriberChange::Add { name } => {
            let password = new_password();
            if !store.add_subscriber(name, domain, &password).await? {
                return Err(Failure::Refused(format!("there is a subscriber {name} already; remove it first")));
            }
            println!("subscriber {name}\ndomain     {domain}\npassword   {password}");
        }
        SubscriberChange::Remove { name } => {
            if !store.remove_subscriber(name, domain).await? {
                return Err(Failure::Refused(format!("there is no subscriber {name} in {domain}")));
            }
            println!("removed {name}");
        }
        SubscriberChange::List => {
            for (name, realm) in store.subscribers() {
                println!("{name}@{realm}");
            }
        }
    }
    Ok(())
}
