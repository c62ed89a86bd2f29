//! Signals as messages, and what the command does with them.
//!
//! ```text
//!   running --TERM|INT--> draining --no call left, drain_s over, or TERM|INT again--> stopped (0)
//!   running | draining --the root gave up--> stopped (70)
//!   HUP: certificates are read again; a changed configuration waits for the next start, and the log says so
//! ```

use std::time::Duration;

use tokio::sync::mpsc;

use super::serve::Switch;

/// How often a draining switch looks whether calls are left.
const LOOK: Duration = Duration::from_millis(250);

/// What the operator asks of the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ask {
    /// SIGTERM, SIGINT.
    End,
    /// SIGHUP.
    Reload,
}

/// How it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Ending {
    /// As asked, with this many calls cut off.
    Asked {
        /// Calls that were still up.
        cut: usize,
    },
    /// The supervision root gave up, in its words.
    GaveUp(String),
}

/// Turns the process's signals into messages.
///
/// # Errors
/// A signal cannot be caught.
pub(super) fn listen() -> std::io::Result<mpsc::Receiver<Ask>> {
    use tokio::signal::unix::{SignalKind, signal};
    // Nobody sends signals faster than they are read; a full channel means that the same was asked already. overflow: DROPS
    let (send, asks) = mpsc::channel(8);
    for (kind, ask) in
        [(SignalKind::terminate(), Ask::End), (SignalKind::interrupt(), Ask::End), (SignalKind::hangup(), Ask::Reload)]
    {
        let mut signals = signal(kind)?;
        let send = send.clone();
        tokio::spawn(async move {
            while signals.recv().await.is_some() {
                let _ = send.try_send(ask);
            }
        });
    }
    Ok(asks)
}

/// Waits for the end, whatever its reason. The switch is not stopped yet when this returns.
pub(super) async fn wait(switch: &dyn Switch, mut asks: mpsc::Receiver<Ask>, drain: Duration) -> Ending {
    let mut gave_up = switch.gave_up();
    loop {
        let ask = tokio::select! {
            why = &mut gave_up => return Ending::GaveUp(why),
            ask = asks.recv() => ask,
        };
        match ask {
            Some(Ask::Reload) => reload(switch),
            Some(Ask::End) | None => break,
        }
    }
    let calls = switch.live_calls();
    tracing::info!(calls, seconds = drain.as_secs(), "draining: no new calls; ask again to stop at once");
    switch.drain();
    let empty = async {
        while switch.live_calls() > 0 {
            tokio::time::sleep(LOOK).await;
        }
    };
    tokio::pin!(empty);
    let limit = tokio::time::sleep(drain);
    tokio::pin!(limit);
    loop {
        tokio::select! {
            why = &mut gave_up => return Ending::GaveUp(why),
            () = &mut empty => break,
            () = &mut limit => break,
            ask = asks.recv() => match ask {
                Some(Ask::Reload) => reload(switch),
                Some(Ask::End) | None => break,
            },
        }
    }
    Ending::Asked { cut: switch.live_calls() }
}

fn reload(switch: &dyn Switch) {
    match switch.reload_certificates() {
        Ok(()) => tracing::info!("certificates read again; a changed configuration is used at the next start"),
        Err(error) => tracing::error!(%error, "certificates could not be read again: the old ones stay"),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tandem_actors::control::Reply;
    use tokio::sync::oneshot;
    use tokio::time::Instant;

    use super::*;

    #[derive(Default)]
    struct Fake {
        calls: AtomicUsize,
        drains: AtomicUsize,
        reloads: AtomicUsize,
        fails: Mutex<Option<oneshot::Receiver<String>>>,
    }

    impl Switch for Fake {
        fn drain(&self) {
            self.drains.fetch_add(1, Ordering::SeqCst);
        }
        fn live_calls(&self) -> usize {
            self.calls.load(Ordering::SeqCst)
        }
        fn reload_certificates(&self) -> Result<(), String> {
            self.reloads.fetch_add(1, Ordering::SeqCst);
            Ok(())
        }
        fn gave_up(&self) -> Reply<String> {
            let fails = self.fails.lock().expect("unpoisoned").take();
            Box::pin(async move {
                match fails {
                    Some(fails) => fails.await.expect("a reason"),
                    None => std::future::pending().await,
                }
            })
        }
        fn stop(self: Box<Self>) -> Reply<()> {
            Box::pin(async {})
        }
    }

    fn asked(asks: &[Ask]) -> (mpsc::Sender<Ask>, mpsc::Receiver<Ask>) {
        let (send, receive) = mpsc::channel(8);
        asks.iter().for_each(|ask| send.try_send(*ask).expect("room"));
        (send, receive)
    }

    const DRAIN: Duration = Duration::from_secs(600);

    #[tokio::test(start_paused = true)]
    async fn the_first_term_drains_until_the_last_call_ends() {
        let switch = std::sync::Arc::new(Fake { calls: 1.into(), ..Fake::default() });
        let (_keep, asks) = asked(&[Ask::End]);
        let caller = std::sync::Arc::clone(&switch);
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_secs(100)).await;
            caller.calls.store(0, Ordering::SeqCst);
        });
        let start = Instant::now();
        assert_eq!(wait(&*switch, asks, DRAIN).await, Ending::Asked { cut: 0 });
        assert_eq!(start.elapsed().as_secs(), 100);
        assert_eq!(switch.drains.load(Ordering::SeqCst), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn the_second_term_stops_at_once() {
        let switch = Fake { calls: 3.into(), ..Fake::default() };
        let (_keep, asks) = asked(&[Ask::End, Ask::End]);
        let start = Instant::now();
        assert_eq!(wait(&switch, asks, DRAIN).await, Ending::Asked { cut: 3 });
        assert_eq!(start.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn a_drain_has_an_end() {
        let switch = Fake { calls: 1.into(), ..Fake::default() };
        let (_keep, asks) = asked(&[Ask::End]);
        let start = Instant::now();
        assert_eq!(wait(&switch, asks, DRAIN).await, Ending::Asked { cut: 1 });
        assert_eq!(start.elapsed(), DRAIN);
    }

    #[tokio::test(start_paused = true)]
    async fn hup_reads_certificates_and_goes_on() {
        let switch = Fake::default();
        let (_keep, asks) = asked(&[Ask::Reload, Ask::Reload, Ask::End]);
        assert_eq!(wait(&switch, asks, DRAIN).await, Ending::Asked { cut: 0 });
        assert_eq!(switch.reloads.load(Ordering::SeqCst), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_root_that_gives_up_ends_it_even_while_it_drains() {
        let (fail, fails) = oneshot::channel();
        let switch = Fake { calls: 1.into(), fails: Mutex::new(Some(fails)), ..Fake::default() };
        let (_keep, asks) = asked(&[Ask::End]);
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_secs(1)).await;
            fail.send("media".to_owned()).expect("somebody waits");
        });
        assert_eq!(wait(&switch, asks, DRAIN).await, Ending::GaveUp("media".into()));
    }
}
