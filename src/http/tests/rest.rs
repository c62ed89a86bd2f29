//! The REST API: keys, orders and their refusals, what is kept.

use tandem_actors::control::Replace;

use super::*;

#[tokio::test]
async fn every_api_route_asks_for_a_key() {
    let stand = stand().await;
    for (method, path) in api::ROUTES {
        let request = format!("{} {path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n", method.to_uppercase());
        let (status, head, body) = stand.raw(&format!("{request}\r\n")).await;
        assert_eq!(status, 401, "{method} {path}");
        assert!(head.contains("www-authenticate: bearer"), "{head}");
        assert!(body.contains("\"code\":\"unauthorized\""), "{body}");
        let (status, _, _) = stand.raw(&format!("{request}Authorization: Bearer wrong\r\n\r\n")).await;
        assert_eq!(status, 401, "{method} {path}");
    }
}

#[tokio::test]
async fn what_lives_is_listed() {
    let stand = stand().await;
    let (status, calls) = stand.ask("GET", "/api/v1/calls", None).await;
    assert_eq!(status, 200);
    assert_eq!(calls["calls"][0]["id"], CALL.to_string());
    assert_eq!(calls["calls"][0]["started_at"], "2023-11-14T22:13:20Z");
    assert_eq!(calls["calls"][0]["answered_at"], Value::Null);
    for list in ["registrations", "trunks", "rooms", "clients"] {
        let (status, body) = stand.ask("GET", &format!("/api/v1/{list}"), None).await;
        assert!(status == 200 && body[list].is_array(), "{list}: {body}");
    }
}

#[tokio::test]
async fn the_ladder_of_a_call_is_json_or_drawn() {
    let stand = stand().await;
    let path = format!("/api/v1/calls/{CALL}/ladder");
    let (status, ladder) = stand.ask("GET", &path, None).await;
    assert_eq!((status, ladder["call"].as_str()), (200, Some(CALL.to_string().as_str())));
    let first = &ladder["messages"][0];
    assert_eq!(first["at"], "2023-11-14T22:13:19.98Z");
    assert_eq!((&first["from"], &first["to"]), (&json!("192.0.2.7:5062"), &json!("192.0.2.1:5060")));
    assert_eq!((&first["line"], &first["headers"][0]), (&json!("INVITE sip:lobby@h SIP/2.0"), &json!("Call-ID: a1")));
    assert_eq!(first["body"], Value::Null, "bodies are shown where they are asked for");
    let (_, ladder) = stand.ask("GET", &format!("{path}?bodies=true"), None).await;
    assert_eq!(ladder["messages"][0]["body"], "v=0\r\n");
    let head = |path: &str| {
        format!("GET {path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\nAuthorization: Bearer secret\r\n\r\n")
    };
    let (status, headers, drawn) = stand.raw(&head(&format!("{path}?format=text"))).await;
    assert!(status == 200 && headers.contains("text/plain"), "{headers}");
    assert!(drawn.contains("INVITE sip:lobby@h") && drawn.contains("403 Forbidden"), "{drawn}");
    // One that became no call, by its Call-ID.
    let (status, ladder) = stand.ask("GET", "/api/v1/ladder?call_id=a2%40h", None).await;
    assert_eq!((status, &ladder["call"]), (200, &Value::Null));
    for (path, expected) in [
        ("/api/v1/calls/call-99/ladder", 404),
        ("/api/v1/ladder?call_id=none", 404),
        ("/api/v1/ladder", 400),
        ("/api/v1/ladder?call_id=a1&format=png", 400),
    ] {
        assert_eq!(stand.ask("GET", path, None).await.0, expected, "{path}");
    }
}

#[tokio::test]
async fn registrations_are_removed_all_or_one_contact() {
    let stand = stand().await;
    for (path, status) in [
        ("1001", 204),
        ("1001?contact=sip:1001@192.0.2.7:5060", 204),
        ("1001?contact=sip:1001@192.0.2.8", 404),
        ("1002", 404),
        ("1009", 503),
    ] {
        let answer = stand.ask("DELETE", &format!("/api/v1/registrations/{path}"), None).await;
        assert_eq!(answer.0, status, "{path}: {}", answer.1);
    }
    assert!((400..=422).contains(&stand.ask("DELETE", "/api/v1/registrations/1001?kontact=x", None).await.0));
}

#[tokio::test]
async fn a_phone_call_is_started_watched_and_stopped() {
    let stand = stand().await;
    let order = json!({"phone_number": "+8613800138000", "room": "lobby", "ttl_s": 60});
    let (status, started) = stand.ask("POST", "/api/v1/phone-calls", Some(order)).await;
    assert_eq!((status, started["id"].as_str()), (201, Some(CALL.to_string().as_str())));
    assert_eq!(stand.desk.started.lock().expect("the list").first().and_then(|o| o.ttl), Some(Duration::from_secs(60)));
    let path = format!("/api/v1/phone-calls/{CALL}");
    let (status, state) = stand.ask("GET", &path, None).await;
    assert_eq!((status, &state["done"]), (200, &json!(false)));
    assert_eq!(state["states"][1]["state_text"], "EARLY");
    assert_eq!(state["states"][1]["status_code"], 180);
    assert_eq!(stand.ask("DELETE", &path, None).await.0, 204);
    assert_eq!(*stand.desk.hung_up.lock().expect("the list"), [CALL]);
    for gone in ["call-99", "nonsense"] {
        let (status, body) = stand.ask("GET", &format!("/api/v1/phone-calls/{gone}"), None).await;
        assert_eq!((status, body["error"]["code"].as_str()), (404, Some("not_found")));
        assert_eq!(stand.ask("DELETE", &format!("/api/v1/phone-calls/{gone}"), None).await.0, 404);
        assert_eq!(stand.ask("DELETE", &format!("/api/v1/calls/{gone}"), None).await.0, 404);
    }
}

#[tokio::test]
async fn a_call_is_transferred_blind_or_to_another_call() {
    let stand = stand().await;
    let path = format!("/api/v1/calls/{CALL}/transfer");
    let cases = [
        (json!({"to": "9000"}), 202),
        (json!({"to": "nobody"}), 422),
        (json!({"call": "call-1", "replace": "caller"}), 409),
        (json!({"call": "nonsense"}), 422),
        (json!({"to": "9000", "call": "call-1"}), 422),
        (json!({"to": ""}), 422),
        (json!({}), 422),
        (json!({"to": "9000", "replace": "everybody"}), 422),
    ];
    for (order, expected) in cases {
        let (status, body) = stand.ask("POST", &path, Some(order.clone())).await;
        assert_eq!(status, expected, "{order} {body}");
    }
    let orders = stand.desk.transfers.lock().expect("the list").clone();
    assert_eq!(orders[0], TransferOrder { replace: Replace::Callee, by: ReplacedBy::Target("9000".into()) });
    assert_eq!(orders[2], TransferOrder { replace: Replace::Caller, by: ReplacedBy::Call(CallId(1), Replace::Caller) });
    assert_eq!(stand.ask("POST", "/api/v1/calls/call-99/transfer", Some(json!({"to": "9000"}))).await.0, 404);
}

#[tokio::test]
async fn a_bad_order_gets_its_own_status() {
    let stand = stand().await;
    let number = |number: &str| json!({"phone_number": number, "room": "lobby"});
    let long = json!({"phone_number": "1", "room": "x".repeat(65)});
    let cases = [
        (number("abc"), 422),
        (number("+99"), 409),
        (number("+00"), 503),
        (number(""), 422),
        (json!({"phone_number": "1"}), 422),
        (json!({"phone_number": "1", "room": "r", "colour": "red"}), 422),
        (json!({"phone_number": "1", "room": "r", "ttl_s": 0}), 422),
        (json!({"phone_number": "1", "room": "r", "ttl_s": -1}), 422),
        (long, 422),
        (json!({"phone_number": "1", "room": "r", "caller": "x".repeat(70_000)}), 413),
    ];
    for (order, expected) in cases {
        let (status, body) = stand.ask("POST", "/api/v1/phone-calls", Some(order.clone())).await;
        assert_eq!(status, expected, "{order} {body}");
        assert!(body["error"]["message"].is_string());
    }
    let head = "POST /api/v1/phone-calls HTTP/1.1\r\nHost: h\r\nConnection: close\r\nAuthorization: Bearer secret\r\n";
    let (status, _, body) =
        stand.raw(&format!("{head}Content-Type: application/json\r\nContent-Length: 1\r\n\r\n{{")).await;
    assert_eq!(status, 400, "{body}");
    let (status, _, body) =
        stand.raw(&format!("{head}Content-Type: text/plain\r\nContent-Length: 2\r\n\r\n{{}}")).await;
    assert_eq!(status, 415, "{body}");
    let (status, body) = stand.ask("PUT", "/api/v1/calls", None).await;
    assert_eq!((status, body["error"]["code"].as_str()), (405, Some("method_not_allowed")));
    let (status, body) = stand.ask("GET", "/api/v2/calls", None).await;
    assert_eq!((status, body["error"]["code"].as_str()), (404, Some("not_found")));
}

#[tokio::test]
async fn a_token_of_the_api_is_a_login() {
    let mut stand = stand().await;
    let (status, issued) = stand.ask("POST", "/api/v1/tokens", Some(json!({"user": "bob", "ttl_s": 60}))).await;
    assert_eq!((status, issued["expires_at"].as_str()), (201, Some("2023-11-14T22:14:20Z")));
    let mut client = stand.connect().await;
    client.send(&json!({"id": "1", "type": "login", "token": issued["token"]})).await;
    let input = stand.next_input().await;
    assert!(matches!(&input, ClientInput::Connected { user, .. } if user.as_str() == "bob"), "{input:?}");
    for bad in [json!({"user": ""}), json!({"user": "null"}), json!({"user": "bob", "ttl_s": 0})] {
        assert_eq!(stand.ask("POST", "/api/v1/tokens", Some(bad)).await.0, 422);
    }
}

#[tokio::test]
async fn subscribers_are_added_once_and_removed_once() {
    let stand = stand().await;
    let add = || Some(json!({"id": "1001"}));
    let (status, added) = stand.ask("POST", "/api/v1/subscribers", add()).await;
    assert_eq!((status, added["password"].as_str()), (201, Some("made-once")));
    assert_eq!(stand.ask("POST", "/api/v1/subscribers", add()).await.0, 409);
    let (_, list) = stand.ask("GET", "/api/v1/subscribers", None).await;
    assert_eq!(list, json!({"subscribers": [{"id": "1001"}]}));
    assert_eq!(stand.ask("DELETE", "/api/v1/subscribers/1001", None).await.0, 204);
    assert_eq!(stand.ask("DELETE", "/api/v1/subscribers/1001", None).await.0, 404);
    assert_eq!(stand.ask("POST", "/api/v1/subscribers", Some(json!({"id": "a b"}))).await.0, 422);
}

#[tokio::test]
async fn records_are_read_within_limits_and_a_locked_store_is_said() {
    let stand = stand().await;
    assert_eq!(stand.ask("GET", "/api/v1/cdrs", None).await, (200, json!({"cdrs": []})));
    assert_eq!(stand.ask("GET", "/api/v1/cdrs?limit=0", None).await.0, 422);
    assert_eq!(stand.ask("GET", "/api/v1/cdrs?limit=x", None).await.0, 400);
    let (status, body) = stand.ask("GET", "/api/v1/cdrs?limit=13", None).await;
    assert_eq!((status, body["error"]["message"].as_str()), (503, Some("the database is locked")));
}

#[tokio::test]
async fn blocked_sources_are_listed_and_lifted() {
    let stand = stand().await;
    let (status, body) = stand.ask("GET", "/api/v1/blocks", None).await;
    let block = json!({"source": "192.0.2.7", "reason": "scanner", "seconds_left": 90, "times": 2});
    assert_eq!((status, &body["blocks"][0]), (200, &block));
    assert_eq!(stand.ask("DELETE", "/api/v1/blocks/nonsense", None).await.0, 404);
    assert_eq!(stand.ask("DELETE", "/api/v1/blocks/192.0.2.7", None).await.0, 204);
    assert_eq!(stand.ask("DELETE", "/api/v1/blocks/192.0.2.7", None).await.0, 404);
    assert_eq!(stand.ask("GET", "/api/v1/blocks", None).await.1["blocks"], json!([]));
}
