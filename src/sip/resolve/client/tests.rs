//! Against a small name server on loopback.

use std::net::UdpSocket;

use hickory_resolver::proto::op::{Message, ResponseCode};
use hickory_resolver::proto::rr::rdata::{A, AAAA, NAPTR, SOA, SRV};
use hickory_resolver::proto::rr::{Record, RecordType};

use super::*;

fn name(text: &str) -> Name {
    Name::from_ascii(text).expect("a name")
}

/// What the server says to a question: records, or a status with the SOA's minimum.
enum Says {
    Records(Vec<(u32, RData)>),
    Nothing(ResponseCode, Option<u32>),
    /// It is silent.
    Silence,
}

/// A name server on a thread; it ends with the process.
fn server(says: impl Fn(&str, RecordType) -> Says + Send + 'static) -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
    let address = socket.local_addr().expect("its address");
    std::thread::spawn(move || {
        let mut buffer = [0; 1500];
        while let Ok((length, from)) = socket.recv_from(&mut buffer) {
            let request = Message::from_vec(&buffer[..length]).expect("a question");
            let query = request.queries.first().expect("a question").clone();
            let mut response = Message::response(request.metadata.id, request.metadata.op_code);
            response.add_query(query.clone());
            match says(&query.name().to_ascii(), query.query_type()) {
                Says::Silence => continue,
                Says::Records(records) => {
                    for (ttl, data) in records {
                        response.add_answer(Record::from_rdata(query.name().clone(), ttl, data));
                    }
                }
                Says::Nothing(code, minimum) => {
                    response.metadata.response_code = code;
                    if let Some(minimum) = minimum {
                        let soa = SOA::new(name("ns.test."), name("op.test."), 1, 1, 1, 1, minimum);
                        response.add_authority(Record::from_rdata(name("test."), minimum, RData::SOA(soa)));
                    }
                }
            }
            socket.send_to(&response.to_vec().expect("octets"), from).expect("sent");
        }
    });
    address
}

#[tokio::test]
async fn every_kind_of_record_is_read_with_its_ttl() {
    let resolver = Resolver::new(vec![server(|_, kind| {
        let [flags, service] = ["S", "SIP+D2U"].map(|text| text.as_bytes().into());
        let naptr = RData::NAPTR(NAPTR::new(10, 20, flags, service, [].into(), name("_sip._udp.test.")));
        let records = [
            (RecordType::NAPTR, 60, naptr),
            (RecordType::SRV, 60, RData::SRV(SRV::new(1, 2, 5070, name("A.test.")))),
            (RecordType::SRV, 30, RData::SRV(SRV::new(0, 0, 0, Name::root()))),
            (RecordType::AAAA, 60, RData::AAAA(AAAA("2001:db8::1".parse().expect("an address")))),
            (RecordType::A, 60, RData::A(A([192, 0, 2, 1].into()))),
        ];
        let of_kind = records.into_iter().filter(|(of, _, _)| *of == kind);
        Says::Records(of_kind.map(|(_, ttl, data)| (ttl, data)).collect())
    })]);
    let ask = |kind| {
        let resolver = &resolver;
        async move { resolver.ask(&Question { name: "test".into(), kind }).await }
    };
    let ttl = Duration::from_secs;
    let naptr = Naptr {
        order: 10,
        preference: 20,
        flags: "S".into(),
        service: "SIP+D2U".into(),
        replacement: "_sip._udp.test.".into(),
    };
    let srv = |priority, weight, port, host: &str| Srv { priority, weight, port, host: host.into() };
    assert_eq!(ask(RecordKind::Naptr).await, Heard::Found(Answer::Naptr(vec![naptr]), ttl(60)));
    let both = vec![srv(0, 0, 0, ""), srv(1, 2, 5070, "A.test")];
    assert_eq!(ask(RecordKind::Srv).await, Heard::Found(Answer::Srv(both), ttl(30)), "the shortest TTL is that of all");
    let v6 = "2001:db8::1".parse().expect("an address");
    assert_eq!(ask(RecordKind::Aaaa).await, Heard::Found(Answer::Addresses(vec![v6]), ttl(60)));
    assert_eq!(ask(RecordKind::A).await, Heard::Found(Answer::Addresses(vec![[192, 0, 2, 1].into()]), ttl(60)));
}

#[tokio::test]
async fn that_there_is_none_is_an_answer_and_that_nobody_answers_is_not() {
    let resolver = Resolver::new(vec![server(|name, _| match name {
        "gone.test." => Says::Nothing(ResponseCode::NXDomain, Some(77)),
        "bare.test." => Says::Nothing(ResponseCode::NoError, Some(77)),
        "broken.test." => Says::Nothing(ResponseCode::ServFail, None),
        _ => Says::Silence,
    })]);
    let ask = |name: &'static str| {
        let resolver = &resolver;
        async move { resolver.ask(&Question::new(name, RecordKind::Srv)).await }
    };
    let soa = Heard::Nothing(Some(Duration::from_secs(77)));
    assert_eq!((ask("gone.test").await, ask("bare.test").await), (soa.clone(), soa));
    let (broken, silent) = tokio::join!(ask("broken.test"), ask("silent.test"));
    assert_eq!((broken, silent), (Heard::Failed, Heard::Failed));
}
