//! Who is called and who calls: SIP URIs as text that was checked by the wire core, application headers, caller identity.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

use super::diversion::Diversion;
use super::ids::{RoomId, ServiceId, SubscriberId, TrunkId, UserId};

/// A SIP, SIPS or tel URI, as text. Only the SIP wire core parses and checks URIs; the brain carries them whole.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SipUri(pub String);

impl SipUri {
    /// The decoded user part (or a tel URI's number), without parameters: `sip:1001;x=y@host` gives `1001`.
    pub fn user(&self) -> Option<&str> {
        let (scheme, rest) = self.0.split_once(':')?;
        if scheme.eq_ignore_ascii_case("tel") {
            return rest.split(';').next().filter(|n| !n.is_empty());
        }
        let (user, _) = rest.rsplit_once('@')?;
        let user = user.split(':').next().unwrap_or(user);
        user.split(';').next().filter(|u| !u.is_empty())
    }

    /// The same place, with another user part, which needs no escapes.
    #[must_use]
    pub fn with_user(&self, user: &str) -> Self {
        let Some((scheme, rest)) = self.0.split_once(':') else { return self.clone() };
        let host = rest.rsplit_once('@').map_or(rest, |(_, host)| host);
        Self(format!("{scheme}:{user}@{host}"))
    }

    /// A parameter behind the host: its value as written, empty where it has none; `None` when absent.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        let rest = self.0.rsplit_once('@').map_or(self.0.as_str(), |(_, host)| host);
        let rest = rest.split_once('?').map_or(rest, |(rest, _headers)| rest);
        let (_, parameters) = rest.split_once(';')?;
        parameters.split(';').find_map(|item| {
            let (key, value) = item.split_once('=').unwrap_or((item, ""));
            key.eq_ignore_ascii_case(name).then_some(value)
        })
    }
}

/// SIP transports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    /// RFC 3261 §18, datagrams.
    Udp,
    /// RFC 3261 §18, streams.
    Tcp,
    /// RFC 3261 §26.2, streams inside TLS.
    Tls,
    /// RFC 7118, a message a WebSocket message.
    Ws,
    /// RFC 7118 inside TLS.
    Wss,
}

impl Transport {
    /// As the configuration, the API and metrics spell it.
    pub fn label(self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
            Self::Tls => "tls",
            Self::Ws => "ws",
            Self::Wss => "wss",
        }
    }
    /// Whether there are connections, which carry what is sent in order or fail.
    pub fn is_stream(self) -> bool {
        match self {
            Self::Udp => false,
            Self::Tcp | Self::Tls | Self::Ws | Self::Wss => true,
        }
    }
    /// Whether nobody on the way can read it.
    pub fn is_secure(self) -> bool {
        match self {
            Self::Tls | Self::Wss => true,
            Self::Udp | Self::Tcp | Self::Ws => false,
        }
    }
    /// Whether only the peer can open the connection (RFC 7118 §5: the client is the one with a browser around it).
    pub fn is_websocket(self) -> bool {
        match self {
            Self::Ws | Self::Wss => true,
            Self::Udp | Self::Tcp | Self::Tls => false,
        }
    }
    /// The port where a URI or a Via names none (RFC 3261 §19.1.2, RFC 7118 §5.3).
    pub fn default_port(self) -> u16 {
        match self {
            Self::Udp | Self::Tcp => 5060,
            Self::Tls => 5061,
            Self::Ws => 80,
            Self::Wss => 443,
        }
    }
}

/// A name and a URI: From, To, P-Asserted-Identity.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NameAddr {
    /// Display name, unquoted; empty where there is none.
    pub display: String,
    /// The URI.
    pub uri: SipUri,
}

/// The headers that travel between SIP and apps unchanged (`domain`: X-Number, X-CusData, X-ArInfo, X-App).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct AppHeaders {
    /// X-Number: names the app user, `<sip:USER@domain>` or bare.
    pub number: Option<String>,
    /// X-CusData: travels into SipData.
    pub cus_data: Option<String>,
    /// X-ArInfo: UserData of the app travels out as this.
    pub ar_info: Option<String>,
    /// X-App: which app.
    pub app: Option<String>,
    /// What else passes; most calls have little of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub further: Option<Box<Further>>,
}

/// What passes between SIP parties beside the application's own headers.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Further {
    /// Other headers that may pass (`pass_headers_in`), in order: name and value.
    pub passed: Vec<(String, String)>,
    /// Session-ID (RFC 7989) of the party whose headers these are: 32 hexadecimal digits.
    pub session_id: Option<String>,
}

impl AppHeaders {
    /// Other headers that may pass.
    pub fn passed(&self) -> &[(String, String)] {
        self.further.as_ref().map_or(&[], |further| &further.passed)
    }

    /// Session-ID of the party whose headers these are.
    pub fn session_id(&self) -> Option<&str> {
        self.further.as_ref()?.session_id.as_deref()
    }
}

/// Who placed an incoming SIP call, as the SIP core established it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SipOrigin {
    /// It came from a trunk's address, or was authenticated with the trunk's credentials.
    Trunk(TrunkId),
    /// A subscriber who proved the password.
    Subscriber(SubscriberId),
    /// Nobody we know; admitted only where the configuration lets strangers call.
    Anonymous,
}

/// Where a new leg goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// An app user, by invitation.
    User(UserId),
    /// A subscriber of ours: every registered contact rings.
    Subscriber(SubscriberId),
    /// One user agent of a subscriber, as a GRUU names it (RFC 5627).
    Instance {
        /// Whose.
        subscriber: SubscriberId,
        /// Which.
        instance: InstanceId,
    },
    /// A number through a trunk.
    Trunk {
        /// Which trunk.
        trunk: TrunkId,
        /// The number as the trunk wants it, prefix included.
        number: String,
        /// Trunks to try in turn where that one cannot take the call, each with the number as it wants it.
        #[serde(default)]
        then: Vec<(TrunkId, String)>,
    },
    /// Any SIP target, sent there directly.
    Uri(SipUri),
    /// An IVR service's flow.
    Service(ServiceId),
    /// A room.
    Room(RoomId),
}

/// Where to send a request for a subscriber: one registered contact.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Contact {
    /// The contact URI as registered.
    pub uri: SipUri,
    /// The address it registered from: behind NAT the only one that works.
    pub source: SocketAddr,
    /// How it registered.
    pub transport: Transport,
    /// Our listener that heard it.
    pub listener: super::ids::ListenerId,
    /// The proxies between us and it, as Path named them (RFC 3327): the Route of what we send. Empty where it came to us
    /// directly.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub path: Vec<String>,
    /// It said another address than its datagrams came from: a NAT is between us, which forgets it unless it hears of us.
    #[serde(default)]
    pub behind_nat: bool,
    /// Our address that it registered at, where the listener has several: requests leave from it, since a NAT or a firewall on
    /// the way lets no other in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub heard_at: Option<IpAddr>,
}

/// A user agent's own URN, which its bindings share whatever address it has (RFC 5626 §4.1, RFC 5627), as `urn:uuid:…`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct InstanceId(pub String);

impl InstanceId {
    /// Whether it is the same instance: URNs of this kind are compared without regard to case (RFC 4122 §3, RFC 8141 §3.1).
    pub fn is(&self, other: &str) -> bool {
        self.0.eq_ignore_ascii_case(other)
    }
}

impl fmt::Display for InstanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// How many hops a request may still take (Max-Forwards, RFC 3261 §20.22).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct MaxForwards(pub u8);

impl Default for MaxForwards {
    /// Of a request that begins with us, or that came without (RFC 3261 §8.1.1.6, §16.6 step 3).
    fn default() -> Self {
        Self(70)
    }
}

impl MaxForwards {
    /// Of the request that goes on where this one came to: a B2BUA is a hop, or a loop through it would never end (RFC 7332). At
    /// 0 no request gets so far: the SIP core answers it 483.
    pub fn forwarded(self) -> Self {
        Self(self.0.saturating_sub(1))
    }
}

impl fmt::Display for MaxForwards {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What goes from one leg's INVITE (or REFER) into the other's, beside caller and application headers: values that the SIP core
/// writes as they are.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Carried {
    /// Referred-By (RFC 3892): who asked for this call by a transfer.
    pub referred_by: Option<String>,
    /// Replaces (RFC 3891): the dialog elsewhere that it takes the place of.
    pub replaces: Option<String>,
    /// Max-Breadth (RFC 5393): into how many branches at once the request may still be forked.
    pub max_breadth: Option<u8>,
    /// Privacy (RFC 3323), in the words that concern others: `none`, or `id` where the caller is to be hidden, `history`, `critical`.
    pub privacy: Option<String>,
    /// The number that the caller would like to be shown by (P-Preferred-Identity, or From), where it is not its own.
    pub preferred: Option<String>,
    /// The caller as trusted trunks are told, where that is not what From shows.
    pub asserted: Option<CallerId>,
    /// Who sent the call on before, the first one first.
    pub diverted: Vec<Diversion>,
    /// Identity (RFC 8224): signatures of the numbers, as they came.
    pub identity: Vec<String>,
    /// Of the number dialled.
    pub portability: Option<Portability>,
}

impl Carried {
    /// Whether the caller is to be hidden from whoever is outside the trust domain (RFC 3323 §4.2, RFC 3325 §9.3).
    pub fn hides_caller(&self) -> bool {
        self.privacy.as_deref().is_some_and(|privacy| privacy.split(';').any(|word| word == "id"))
    }
}

/// Where a ported number is (RFC 4694).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Portability {
    /// The number.
    pub number: String,
    /// `npdi`, `rn`, `cic` and their contexts as they came, each with its `;`.
    pub parameters: String,
}

/// The caller as the callee is shown.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct CallerId {
    /// Display name; may be empty.
    pub display: String,
    /// Number or user id.
    pub number: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_user_of_a_uri_has_no_password_and_no_parameters() {
        let user = |text: &str| SipUri(text.into()).user().map(str::to_owned);
        assert_eq!(user("sip:john.doe@example.com").as_deref(), Some("john.doe"));
        assert_eq!(user("sip:+1212;npdi@gw:5060;user=phone").as_deref(), Some("+1212"));
        assert_eq!(user("sip:a:secret@h").as_deref(), Some("a"));
        assert_eq!(user("tel:+86138;phone-context=x").as_deref(), Some("+86138"));
        assert_eq!(user("sip:example.com"), None);
    }

    #[test]
    fn another_user_at_the_same_place() {
        let moved = |text: &str| SipUri(text.into()).with_user("+8613").0;
        assert_eq!(moved("sip:sim1@10.0.0.7:5062;transport=tcp"), "sip:+8613@10.0.0.7:5062;transport=tcp");
        assert_eq!(moved("sip:10.0.0.7"), "sip:+8613@10.0.0.7");
    }

    #[test]
    fn a_parameter_of_a_uri_is_behind_its_host() {
        let gr = |text: &str| SipUri(text.into()).parameter("gr").map(str::to_owned);
        assert_eq!(gr("sip:1001@h;GR=urn:uuid:1;x=y").as_deref(), Some("urn:uuid:1"));
        assert_eq!(gr("sip:t;gr=no@h:5060;gr").as_deref(), Some(""));
        assert_eq!(gr("sip:1001;gr=no@h?gr=no"), None);
    }
}
