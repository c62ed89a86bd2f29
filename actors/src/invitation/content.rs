//! What apps put into an invitation's `content`, and what the switch puts there itself.
//!
//! Apps in the wild write it loosely: numbers as text, arrays as JSON within a string, `SipData` as a caller id or as JSON with
//! a SipNumber. Reading forgives all of that and keeps fields it does not know; only what is not a JSON object at all is
//! refused (`"unkown"`, as clients know it).

use serde_json::{Map, Value, json};

use crate::model::address::AppHeaders;

/// The refusal of a number or service whose content is not JSON. The spelling is what clients compare with.
pub const REFUSED_NOT_JSON: &str = "unkown";
/// The refusal of a channel that is bridged already.
pub const REFUSED_JOINED: &str = "joined";
/// The refusal of a busy callee.
pub const REFUSED_BUSY: &str = "busy";

const X_NUMBER: &str = "XNumber";
const X_APP: &str = "XApp";

/// The content is not a JSON object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the content of the invitation is not a JSON object")]
pub struct NotJson;

/// What an app asks of the switch in `content`.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Content {
    /// `Mode` 0: the app would like video. The switch answers Mode 1 (audio) whatever is asked.
    pub wants_video: bool,
    /// `Conference`: join room ChanId as one more participant.
    pub conference: bool,
    /// `ChanId`: the room that the switch bridges; empty where there is none.
    pub chan_id: String,
    /// `UserData`, as text: travels out as X-ArInfo. An array is kept as JSON.
    pub user_data: String,
    /// `SipData`, as text: travels into the accept response unchanged, and is the caller id where it is not JSON.
    pub sip_data: String,
    /// `SipNumber`, or the SipNumber within SipData: rings that number directly.
    pub sip_number: Option<String>,
    /// `DisplayName`.
    pub display_name: String,
    /// `Pstn`: dial through the PSTN trunk.
    pub pstn: bool,
    /// `AudCodec`: names in order of preference.
    pub audio_codecs: Vec<String>,
    /// `VidCodec`: names in order of preference.
    pub video_codecs: Vec<String>,
    /// Every other field, as it came.
    pub other: Map<String, Value>,
}

impl Content {
    /// Reads what an app wrote.
    ///
    /// # Errors
    /// [`NotJson`] when it is not a JSON object. A field of a wrong kind is never an error: it counts as absent.
    pub fn parse(content: &str) -> Result<Self, NotJson> {
        let Ok(Value::Object(mut fields)) = serde_json::from_str::<Value>(content) else { return Err(NotJson) };
        let mut take = |name: &str| fields.remove(name).unwrap_or(Value::Null);
        let sip_data_field = take("SipData");
        let direct = Some(text_of(&take("SipNumber"))).filter(|number| !number.is_empty());
        let read = Self {
            wants_video: take("Mode") == json!(0),
            conference: truth_of(&take("Conference")),
            chan_id: text_of(&take("ChanId")),
            user_data: text_of(&take("UserData")),
            sip_number: direct.or_else(|| number_within(&sip_data_field)),
            sip_data: text_of(&sip_data_field),
            display_name: text_of(&take("DisplayName")),
            pstn: truth_of(&take("Pstn")),
            audio_codecs: names_of(&take("AudCodec")),
            video_codecs: names_of(&take("VidCodec")),
            other: Map::new(),
        };
        Ok(Self { other: fields, ..read })
    }

    /// What travels to the SIP side: UserData as X-ArInfo, SipData as X-CusData where it is not the caller id, and `XNumber` and
    /// `XApp` as they are called when they come the other way ([`Content::with_headers`]).
    pub fn headers(&self) -> AppHeaders {
        let given = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
        let other = |name: &str| self.other.get(name).and_then(|value| given(&text_of(value)));
        AppHeaders {
            number: other(X_NUMBER),
            cus_data: if self.shown_number().is_some() { None } else { given(&self.sip_data) },
            ar_info: given(&self.user_data),
            app: other(X_APP),
            ..AppHeaders::default()
        }
    }

    /// Adds what came from the SIP side to a content of ours: what [`Content::headers`] reads.
    pub fn with_headers(content: String, headers: &AppHeaders) -> String {
        let Ok(Value::Object(mut fields)) = serde_json::from_str(&content) else { return content };
        for (name, header) in [("UserData", &headers.ar_info), (X_NUMBER, &headers.number), (X_APP, &headers.app)] {
            if let Some(text) = header {
                fields.insert(name.into(), text.as_str().into());
            }
        }
        Value::Object(fields).to_string()
    }

    /// The caller id the app asks for: SipData, where that is plain text rather than JSON.
    pub fn shown_number(&self) -> Option<&str> {
        let text = self.sip_data.trim();
        let is_json = text.starts_with(['{', '[']);
        (!text.is_empty() && !is_json).then_some(text)
    }

    /// The content of an invitation that the switch sends for a call from SIP. `shown` is the caller as the app shows it,
    /// `sip_data` what X-CusData brought.
    pub fn for_sip_call(chan_id: &str, shown: &str, sip_data: &str) -> String {
        json!({"Mode": 1, "Conference": 0, "ChanId": chan_id, "DisplayName": shown, "SipData": sip_data}).to_string()
    }

    /// The response with which the switch accepts an app's invitation on behalf of a number or service: audio, always.
    /// `chan_id` is the room when the app left it empty.
    pub fn accept_response(&self, chan_id: &str) -> String {
        json!({
            "Mode": 1,
            "Conference": u8::from(self.conference),
            "ChanId": chan_id,
            "SipNumber": self.sip_number.as_deref().unwrap_or_default(),
            "SipData": self.sip_data,
            "UserData": self.user_data,
        })
        .to_string()
    }
}

/// Whether a refusal says that the callee is in another call: `busy`, or JSON whose Reason is `calling`.
pub fn says_busy(response: &str) -> bool {
    if response.trim().eq_ignore_ascii_case(REFUSED_BUSY) {
        return true;
    }
    let Ok(Value::Object(fields)) = serde_json::from_str::<Value>(response) else { return false };
    fields.get("Reason").and_then(Value::as_str).is_some_and(|reason| reason.eq_ignore_ascii_case("calling"))
}

/// A value as text: a string as it is, nothing for null, JSON otherwise.
fn text_of(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => value.to_string(),
    }
}

/// 1, "1", true and "true" are true; everything else is not.
fn truth_of(value: &Value) -> bool {
    match value {
        Value::Bool(truth) => *truth,
        Value::Number(number) => number.as_f64().is_some_and(|number| number != 0.0),
        Value::String(text) => text == "1" || text.eq_ignore_ascii_case("true"),
        Value::Null | Value::Array(_) | Value::Object(_) => false,
    }
}

/// A list of names: an array, JSON of an array within a string, or one name.
fn names_of(value: &Value) -> Vec<String> {
    match value {
        Value::Array(names) => names.iter().map(text_of).filter(|name| !name.is_empty()).collect(),
        Value::String(text) => match serde_json::from_str::<Value>(text) {
            Ok(list @ Value::Array(_)) => names_of(&list),
            _ if text.is_empty() => Vec::new(),
            _ => vec![text.clone()],
        },
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => Vec::new(),
    }
}

/// The SipNumber of a SipData that is an object, or JSON of one within a string.
fn number_within(sip_data: &Value) -> Option<String> {
    let parsed;
    let fields = match sip_data {
        Value::Object(fields) => fields,
        Value::String(text) => {
            parsed = serde_json::from_str::<Value>(text).ok()?;
            parsed.as_object()?
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) => return None,
    };
    Some(text_of(fields.get("SipNumber")?)).filter(|number| !number.is_empty())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> Content {
        Content::parse(text).expect("content")
    }

    #[test]
    fn sip_number_is_found_at_the_top_and_within_sip_data_however_it_is_written() {
        for text in [
            r#"{"SipNumber":"1016"}"#,
            r#"{"SipNumber":1016}"#,
            r#"{"SipData":{"SipNumber":"1016"}}"#,
            r#"{"SipData":"{\"SipNumber\":\"1016\"}"}"#,
        ] {
            assert_eq!(read(text).sip_number.as_deref(), Some("1016"), "{text}");
        }
        assert_eq!(read(r#"{"SipData":"02112345"}"#).sip_number, None);
        assert_eq!(read(r#"{"SipNumber":""}"#).sip_number, None);
    }

    #[test]
    fn headers_of_the_sip_side_are_read_as_they_were_written() {
        let text = |text: &str| Some(text.to_owned());
        let headers =
            AppHeaders { number: text("<sip:7@a>"), ar_info: text("vip"), app: text("shop"), ..AppHeaders::default() };
        let content = Content::with_headers(Content::for_sip_call("room", "1001", ""), &headers);
        assert_eq!(read(&content).headers(), headers);
        assert_eq!(read(r#"{"SipData":"{\"order\":7}"}"#).headers().cus_data, text(r#"{"order":7}"#));
        assert_eq!(read(r#"{"SipData":"02112345"}"#).headers().cus_data, None, "that is the caller id");
    }

    #[test]
    fn sip_data_that_is_plain_text_is_the_caller_id() {
        assert_eq!(read(r#"{"SipData":"02112345"}"#).shown_number(), Some("02112345"));
        assert_eq!(read(r#"{"SipData":"{\"SipNumber\":\"1\"}"}"#).shown_number(), None);
        assert_eq!(read("{}").shown_number(), None);
    }

    #[test]
    fn conference_and_pstn_are_0_1_or_bool() {
        for (text, truth) in
            [("0", false), ("1", true), ("true", true), ("false", false), ("\"1\"", true), ("{}", false)]
        {
            assert_eq!(read(&format!(r#"{{"Conference":{text},"Pstn":{text}}}"#)).conference, truth, "{text}");
            assert_eq!(read(&format!(r#"{{"Conference":{text},"Pstn":{text}}}"#)).pstn, truth, "{text}");
        }
    }

    #[test]
    fn codec_lists_are_arrays_or_json_in_a_string() {
        assert_eq!(read(r#"{"AudCodec":["OPUS","G722"]}"#).audio_codecs, ["OPUS", "G722"]);
        assert_eq!(read(r#"{"AudCodec":"[\"OPUS\"]"}"#).audio_codecs, ["OPUS"]);
        assert_eq!(read(r#"{"AudCodec":"OPUS"}"#).audio_codecs, ["OPUS"]);
        assert_eq!(read(r#"{"AudCodec":7}"#).audio_codecs, [] as [&str; 0]);
    }

    #[test]
    fn user_data_is_text_and_an_array_stays_json() {
        assert_eq!(read(r#"{"UserData":"x"}"#).user_data, "x");
        assert_eq!(read(r#"{"UserData":["a",1]}"#).user_data, r#"["a",1]"#);
    }

    #[test]
    fn unknown_fields_are_kept() {
        assert_eq!(read(r#"{"Mode":1,"Future":{"x":1}}"#).other.get("Future"), Some(&json!({"x": 1})));
    }

    #[test]
    fn what_is_not_a_json_object_is_refused() {
        for text in ["", "hello", "[1]", "7", "{\"a\":"] {
            assert_eq!(Content::parse(text), Err(NotJson), "{text}");
        }
    }

    #[test]
    fn an_acceptance_is_audio_whatever_was_asked() {
        let content = read(r#"{"Mode":0,"Conference":true,"ChanId":"c","SipNumber":"1016","UserData":"u"}"#);
        assert!(content.wants_video);
        let response: Value = serde_json::from_str(&content.accept_response("c")).expect("json");
        assert_eq!(
            response,
            json!({"Mode":1,"Conference":1,"ChanId":"c","SipNumber":"1016","SipData":"","UserData":"u"})
        );
    }

    #[test]
    fn busy_is_said_in_two_ways() {
        assert!(says_busy("busy"));
        assert!(says_busy(r#"{"refuseId":"7","Reason":"calling","Cmd":"Calling"}"#));
        assert!(!says_busy(""));
        assert!(!says_busy(r#"{"Reason":"other","Cmd":"platfrom"}"#));
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "\\PC*") {
            let _ = Content::parse(&text);
            let _ = says_busy(&text);
        }

        #[test]
        fn what_we_write_we_read(chan in "[a-z0-9]{1,16}", shown in "\\PC{0,32}", data in "\\PC{0,32}") {
            let content = read(&Content::for_sip_call(&chan, &shown, &data));
            prop_assert_eq!(content.chan_id, chan);
            prop_assert_eq!(content.display_name, shown);
            prop_assert_eq!(content.sip_data, data);
        }
    }
}
