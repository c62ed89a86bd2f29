//! A name server with the records a story gives it.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex};

use hickory_resolver::proto::op::{Message, ResponseCode};
use hickory_resolver::proto::rr::rdata::{A, AAAA, NAPTR, SRV};
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};

type Zone = HashMap<(String, RecordType), Vec<RData>>;

/// A running name server, on a thread that ends with the process.
pub struct Dns {
    pub address: SocketAddr,
    zone: Arc<Mutex<Zone>>,
}

/// Short, so that a story can move a host.
const TTL: u32 = 1;

impl Dns {
    pub fn start() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
        let address = socket.local_addr().expect("its address");
        let zone = Arc::new(Mutex::new(Zone::new()));
        let answers = Arc::clone(&zone);
        std::thread::spawn(move || {
            let mut buffer = [0; 1500];
            while let Ok((length, from)) = socket.recv_from(&mut buffer) {
                let Ok(request) = Message::from_vec(&buffer[..length]) else { continue };
                let Some(query) = request.queries.first().cloned() else { continue };
                let mut response = Message::response(request.metadata.id, request.metadata.op_code);
                response.add_query(query.clone());
                let name = query.name().to_ascii().trim_end_matches('.').to_ascii_lowercase();
                match answers.lock().expect("the zone").get(&(name, query.query_type())) {
                    Some(records) => {
                        for data in records {
                            response.add_answer(Record::from_rdata(query.name().clone(), TTL, data.clone()));
                        }
                    }
                    None => response.metadata.response_code = ResponseCode::NXDomain,
                }
                let _ = socket.send_to(&response.to_vec().expect("octets"), from);
            }
        });
        Self { address, zone }
    }

    fn add(&self, name: &str, kind: RecordType, data: RData) {
        self.zone.lock().expect("the zone").entry((name.to_owned(), kind)).or_default().push(data);
    }

    pub fn a(&self, name: &str, ip: Ipv4Addr) {
        self.add(name, RecordType::A, RData::A(A(ip)));
    }

    pub fn aaaa(&self, name: &str, ip: &str) {
        self.add(name, RecordType::AAAA, RData::AAAA(AAAA(ip.parse().expect("an address"))));
    }

    pub fn srv(&self, name: &str, priority: u16, weight: u16, port: u16, host: &str) {
        let host = Name::from_ascii(format!("{host}.")).expect("a name");
        self.add(name, RecordType::SRV, RData::SRV(SRV::new(priority, weight, port, host)));
    }

    pub fn naptr(&self, name: &str, order: u16, service: &str, replacement: &str) {
        let replacement = Name::from_ascii(format!("{replacement}.")).expect("a name");
        let [flags, service] = ["s", service].map(|text| text.as_bytes().into());
        self.add(name, RecordType::NAPTR, RData::NAPTR(NAPTR::new(order, 10, flags, service, [].into(), replacement)));
    }
}
