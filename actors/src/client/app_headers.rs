//! Application headers as apps say and hear them: the four that are theirs. What else passes between SIP parties is neither
//! told to an app nor taken from one, which could put any header on our calls to a trunk. For serde's `with`.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::model::address::AppHeaders;

pub(super) fn serialize<S: Serializer>(headers: &AppHeaders, to: S) -> Result<S::Ok, S::Error> {
    AppHeaders { further: None, ..headers.clone() }.serialize(to)
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<AppHeaders, D::Error> {
    Ok(AppHeaders { further: None, ..AppHeaders::deserialize(from)? })
}

#[cfg(test)]
mod tests {
    use super::super::protocol::{Event, Request};
    use crate::model::address::{AppHeaders, Further};
    use crate::model::ids::CallId;

    #[test]
    fn an_app_neither_hears_nor_says_what_passes_between_sip_parties() {
        let passed = vec![("P-Asserted-Identity".to_owned(), "<sip:1@x>".to_owned())];
        let further = Some(Box::new(Further { passed, session_id: Some("ab".into()) }));
        let headers = AppHeaders { app: Some("desk".into()), further, ..AppHeaders::default() };
        let told = serde_json::to_value(Event::CallAnswered { call: CallId(7), headers }).expect("JSON");
        assert_eq!((&told["headers"]["app"], told["headers"].get("further")), (&"desk".into(), None));
        let said = serde_json::json!({
            "type": "call", "to": "9000", "sdp": "v=0",
            "headers": { "app": "shop", "further": { "passed": [["X-Evil", "1"]], "session_id": "ab" } },
        });
        let Request::Call { headers, .. } = serde_json::from_value(said).expect("a request") else { panic!("a call") };
        assert_eq!(headers, AppHeaders { app: Some("shop".into()), ..AppHeaders::default() });
    }
}
