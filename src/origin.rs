//! Which web pages may open a WebSocket: a leaf for all that accept them.

/// Whether a page may: one of ours, one that is listed (`*` is any), or no page at all (RFC 6455 §10.2).
pub fn allowed(origin: Option<&str>, host: Option<&str>, listed: &[String]) -> bool {
    let Some(origin) = origin else { return true };
    let own =
        origin.split_once("://").is_some_and(|(_, authority)| host.is_some_and(|h| h.eq_ignore_ascii_case(authority)));
    own || listed.iter().any(|a| a == "*" || a.trim_end_matches('/').eq_ignore_ascii_case(origin))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_pages_and_listed_origins_may_connect() {
        let listed = ["https://app.example.com".to_owned()];
        assert!(allowed(None, Some("switch:8443"), &[]));
        assert!(allowed(Some("https://switch:8443"), Some("switch:8443"), &[]));
        assert!(!allowed(Some("https://evil.example"), Some("switch:8443"), &listed));
        assert!(!allowed(Some("null"), Some("switch:8443"), &listed));
        assert!(allowed(Some("https://app.example.com"), Some("switch:8443"), &listed));
        assert!(allowed(Some("https://any.example"), Some("switch:8443"), &["*".to_owned()]));
    }
}
