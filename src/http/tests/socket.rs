//! The clients' WebSocket.

use tandem_actors::client::protocol::Reply as ClientReply;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

use super::*;
use crate::http::clients::CLIENT_QUEUE;

#[tokio::test]
async fn a_login_reaches_the_brain_and_its_frames_reach_the_socket() {
    let mut stand = stand().await;
    let mut client = stand.connect().await;
    client.send(&login(Some(json!({"client": "client-5", "seq": 9})))).await;
    let ClientInput::Connected { client: id, user, device, resume, request } = stand.next_input().await else {
        panic!("expected a connection");
    };
    assert_eq!((user.as_str(), device.as_str(), request.as_str()), ("alice", "test", "1"));
    assert_eq!(resume, Some((ClientId(5), 9)));
    stand.clients.deliver(id, event(10)).expect("delivered");
    assert_eq!(client.next().await.expect("a frame")["seq"], 10);
    client.send(&json!({"id": "2", "type": "hangup", "call": "call-7"})).await;
    let input = stand.next_input().await;
    assert!(
        matches!(&input, ClientInput::Request { client, request, .. } if *client == id && request == "2"),
        "{input:?}"
    );
    drop(client);
    assert_eq!(stand.next_input().await, ClientInput::Lost(id));
    assert_eq!(stand.clients.count(), 0);
}

#[tokio::test]
async fn the_first_frame_is_a_right_login() {
    let stand = stand().await;
    let mut client = stand.connect().await;
    client.send(&json!({"id": "1", "type": "ping"})).await;
    assert_eq!(client.error_code().await, "unauthorized");
    client.send(&json!({"id": "2", "type": "login", "token": "nonsense"})).await;
    assert_eq!(client.error_code().await, "unauthorized");
    assert_eq!(client.next().await, Err(1008));
    assert_eq!(stand.clients.count(), 0);
}

#[tokio::test]
async fn an_expired_token_is_said_to_be_expired() {
    let stand = stand().await;
    let alice = UserId::new("alice").expect("a user");
    let past = now() - Duration::from_secs(120);
    let (token, _) = token_key().issue(&alice, Duration::from_secs(60), past).expect("a token");
    let mut client = stand.connect().await;
    client.send(&json!({"id": "1", "type": "login", "token": token})).await;
    let reply = client.next().await.expect("a frame");
    assert!(reply["message"].as_str().is_some_and(|words| words.contains("expired")), "{reply}");
}

#[tokio::test]
async fn bad_frames_get_an_error_and_the_connection_goes_on() {
    let mut stand = stand().await;
    let (mut client, id) = stand.logged_in().await;
    client.0.send(Message::text("{\"id\":\"1\",")).await.expect("sent");
    assert_eq!(client.error_code().await, "malformed");
    client.0.send(Message::binary(vec![0u8; 4])).await.expect("sent");
    assert_eq!(client.error_code().await, "malformed");
    client.send(&json!({"id": "2", "type": "no.such"})).await;
    let reply = client.next().await.expect("a frame");
    assert_eq!((reply["re"].as_str(), reply["code"].as_str()), (Some("2"), Some("malformed")));
    client.send(&json!({"id": "3", "type": "ping", "fill": "x".repeat(ws::MAX_FRAME)})).await;
    assert_eq!(client.error_code().await, "invalid_argument");
    client.send(&login(None)).await;
    assert_eq!(client.error_code().await, "conflict");
    client.send(&json!({"id": "4", "type": "ping"})).await;
    let input = stand.next_input().await;
    assert!(matches!(&input, ClientInput::Request { client, .. } if *client == id), "{input:?}");
}

#[tokio::test]
async fn a_frame_too_long_to_be_read_is_counted_and_ends_the_socket() {
    let recorder = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder();
    // The switch runs on this thread too.
    let _counting = ::metrics::set_default_local_recorder(&recorder);
    let mut stand = stand().await;
    let (mut client, id) = stand.logged_in().await;
    let mut stranger = stand.connect().await;
    for client in [&mut client, &mut stranger] {
        // The socket may end before it is sent whole.
        let _ = client.0.send(Message::text("x".repeat(ws::MAX_READ + 1))).await;
        let code = client.next().await.expect_err("the end");
        assert!(code == 1009 || code == 1006, "{code}");
    }
    assert_eq!(stand.next_input().await, ClientInput::Lost(id));
    let rendered = recorder.handle().render();
    assert!(rendered.contains("tandem_client_errors_total{code=\"too_big\"} 2"), "{rendered}");
}

#[tokio::test]
async fn a_flood_of_requests_is_rate_limited() {
    let mut stand = stand().await;
    let (mut client, _) = stand.logged_in().await;
    for n in 0..200 {
        client.send(&json!({"id": n.to_string(), "type": "ping"})).await;
    }
    assert_eq!(client.error_code().await, "rate_limited");
}

#[tokio::test]
async fn a_client_that_does_not_keep_up_is_closed_with_1013() {
    let mut stand = stand().await;
    let (mut client, id) = stand.logged_in().await;
    // No await between: the writer has no turn to empty its queue.
    let refused = (1..).find(|seq| stand.clients.deliver(id, event(*seq)).is_err());
    assert_eq!(refused, Some(CLIENT_QUEUE as u64 + 1));
    let end = loop {
        match client.next().await {
            Ok(_) => {}
            Err(code) => break code,
        }
    };
    assert_eq!(end, 1013);
    assert_eq!(stand.next_input().await, ClientInput::Lost(id));
}

#[tokio::test]
async fn the_brain_closes_a_socket_after_what_it_sent() {
    let mut stand = stand().await;
    let (mut client, id) = stand.logged_in().await;
    let kicked = Event::Kicked { reason: "REMOTE_LOGIN".into() };
    let frame = Frame { v: VERSION, body: Body::Event { seq: 1, event: kicked } };
    stand.clients.deliver(id, frame).expect("delivered");
    stand.clients.close(id, 4001, "logged in elsewhere");
    assert_eq!(client.next().await.expect("a frame")["type"], "kicked");
    assert_eq!(client.next().await, Err(4001));
}

#[tokio::test]
async fn signs_of_life_go_up_at_most_once_a_second() {
    let mut stand = stand().await;
    let (mut client, id) = stand.logged_in().await;
    let began = tokio::time::Instant::now();
    let mut alive = 0;
    while alive < 2 {
        client.0.send(Message::Ping(Vec::new().into())).await.expect("sent");
        // The pause is the client's pace, not a wait for something: the loop ends by what the brain heard.
        if let Ok(Some(input)) = tokio::time::timeout(Duration::from_millis(50), stand.heard.recv()).await {
            assert_eq!(input, ClientInput::Alive(id));
            alive += 1;
        }
        assert!(began.elapsed() < DEADLINE, "no sign of life");
    }
    assert!(began.elapsed() >= Duration::from_millis(1900), "more than one a second");
}

#[tokio::test]
async fn a_page_of_another_origin_may_not_connect() {
    let stand = stand().await;
    let url = format!("ws://{}/ws", stand.address());
    let with_origin = |origin: &'static str| {
        let mut request = url.as_str().into_client_request().expect("a request");
        request.headers_mut().insert("origin", origin.parse().expect("a value"));
        tokio_tungstenite::connect_async(request)
    };
    assert!(with_origin("https://evil.example").await.is_err());
    assert!(with_origin("https://app.example.com").await.is_ok());
}

#[tokio::test]
async fn stopping_tells_clients_to_come_back() {
    let mut stand = stand().await;
    let (mut client, id) = stand.logged_in().await;
    let reply = Frame { v: VERSION, body: Body::Reply { re: "1".into(), reply: ClientReply::Done {} } };
    stand.clients.deliver(id, reply).expect("delivered");
    stand.http.stop(Duration::from_secs(1)).await;
    assert_eq!(client.next().await.expect("a frame")["type"], "ok");
    assert_eq!(client.next().await, Err(1012));
}
