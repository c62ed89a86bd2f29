//! Header names the core looks at, with their compact forms (RFC 3261 §7.3.3, §20).

macro_rules! names {
    ($($variant:ident $long:literal $(compact $short:literal)?),* $(,)?) => {
        /// A header the core reads; everything else is [`HeaderName::Other`] and kept as it came.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum HeaderName {
            $(#[doc = concat!("`", $long, "`.")] $variant,)*
            /// Any other header.
            Other,
        }

        impl HeaderName {
            /// Which header a field name means; names are case-insensitive, compact forms are equal to the long ones.
            pub fn identify(name: &[u8]) -> Self {
                // The length is compared first: most candidates cost one integer comparison.
                $(if name.len() == $long.len() && name.eq_ignore_ascii_case($long.as_bytes()) {
                    return Self::$variant;
                })*
                $($(if name.eq_ignore_ascii_case($short.as_bytes()) {
                    return Self::$variant;
                })?)*
                Self::Other
            }

            /// The name as we write it.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $long,)*
                    Self::Other => "",
                }
            }
        }
    };
}

names! {
    Via "Via" compact "v",
    From "From" compact "f",
    To "To" compact "t",
    CallId "Call-ID" compact "i",
    CSeq "CSeq",
    MaxForwards "Max-Forwards",
    MaxBreadth "Max-Breadth",
    Contact "Contact" compact "m",
    ContentLength "Content-Length" compact "l",
    ContentType "Content-Type" compact "c",
    ContentEncoding "Content-Encoding" compact "e",
    ContentDisposition "Content-Disposition",
    Route "Route",
    RecordRoute "Record-Route",
    Path "Path",
    Date "Date",
    FlowTimer "Flow-Timer",
    Require "Require",
    Supported "Supported" compact "k",
    Unsupported "Unsupported",
    Allow "Allow",
    Accept "Accept",
    AcceptEncoding "Accept-Encoding",
    Expires "Expires",
    MinExpires "Min-Expires",
    Authorization "Authorization",
    ProxyAuthorization "Proxy-Authorization",
    WwwAuthenticate "WWW-Authenticate",
    ProxyAuthenticate "Proxy-Authenticate",
    AuthenticationInfo "Authentication-Info",
    SessionId "Session-ID",
    SessionExpires "Session-Expires" compact "x",
    MinSe "Min-SE",
    RSeq "RSeq",
    RAck "RAck",
    PEarlyMedia "P-Early-Media",
    Reason "Reason",
    RetryAfter "Retry-After",
    ResourcePriority "Resource-Priority",
    Warning "Warning",
    UserAgent "User-Agent",
    Server "Server",
    PAssertedIdentity "P-Asserted-Identity",
    PPreferredIdentity "P-Preferred-Identity",
    RemotePartyId "Remote-Party-ID",
    Privacy "Privacy",
    Diversion "Diversion",
    HistoryInfo "History-Info",
    Identity "Identity" compact "y",
    ReferTo "Refer-To" compact "r",
    ReferredBy "Referred-By" compact "b",
    ReferSub "Refer-Sub",
    Replaces "Replaces",
    Event "Event" compact "o",
    SubscriptionState "Subscription-State",
    AllowEvents "Allow-Events" compact "u",
    XNumber "X-Number",
    XCusData "X-CusData",
    XArInfo "X-ArInfo",
    XApp "X-App",
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compact_forms_and_any_case_name_the_same_header() {
        assert_eq!(HeaderName::identify(b"v"), HeaderName::Via);
        assert_eq!(HeaderName::identify(b"L"), HeaderName::ContentLength);
        assert_eq!(HeaderName::identify(b"cALL-iD"), HeaderName::CallId);
        assert_eq!(HeaderName::identify(b"X-Unheard-Of"), HeaderName::Other);
    }
}
