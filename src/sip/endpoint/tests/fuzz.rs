//! A core fed with what no peer should send: requests of valid dialogs, changed; changed answers to what it sends itself; orders of
//! the brain between them. Nothing makes it panic, nothing stays in its tables. How long, and how a failure is run again: as in
//! `sip::fuzz`.

use tandem_actors::fakes::Meter;

use super::super::super::fuzz::{Change, changed};
use super::super::super::message::Carried;
use super::super::super::message::validate::validate;
use super::pair::empty;
use super::requests::Bench;
use super::*;

const RUN: Duration = Duration::from_secs(1);
/// The statuses that a peer answers our requests with.
const STATUSES: [u16; 16] = [100, 180, 183, 200, 202, 302, 401, 407, 422, 481, 486, 491, 500, 503, 603, 199];

/// A datagram or an order: which, to which call, changed how; and what is waited after it, in 50 ms.
type Step = (u8, u8, Vec<Change>, u8);

fn requests() -> Vec<&'static str> {
    include_str!("../../../../tests/data/fuzz/dialogs.txt").split("====\n").collect()
}

/// A peer that knows what the core sent, and a brain that does anything at any time.
struct Storm {
    bench: Bench,
    requests: Vec<String>,
    /// The tag the core gave the dialog.
    tag: String,
    /// The last request it sent.
    asked: Option<Message>,
    fed: usize,
}

impl Storm {
    fn new(manner: Manner) -> Self {
        let requests = requests().into_iter().map(|text| text.replace('\n', "\r\n")).collect();
        Self { bench: Bench::new(manner, open()), requests, tag: "none".into(), asked: None, fed: 0 }
    }

    fn hear(&mut self) {
        for sent in self.bench.heard() {
            let Ok((message, _)) = Message::parse(Bytes::from(sent), Carried::Datagram) else { continue };
            match message.kind() {
                Kind::Request { .. } => self.asked = Some(message),
                Kind::Response { .. } => {
                    if let Some(names) =
                        Names::of(&message).filter(|names| names.call_id == "c1" && !names.to_tag.is_empty())
                    {
                        self.tag = names.to_tag;
                    }
                }
            }
        }
    }

    fn feed(&mut self, octets: &[u8]) {
        self.fed += 1;
        let Ok((message, _)) = Message::parse(Bytes::copy_from_slice(octets), Carried::Datagram) else { return };
        let flow = Flow::udp(0, SocketAddr::from(([192, 0, 2, 7], 5060)));
        let checked = validate(&message);
        // Not by `datagram`, which catches a panic.
        self.bench.core.shared().with(|core, now| core.receive(flow, message, checked, now));
    }

    fn step(&mut self, (which, call, changes, _): &Step) {
        let n = usize::from(*which);
        let orders = 4;
        if let Some(request) = self.requests.get(n % (self.requests.len() + STATUSES.len() + orders)) {
            let text = request.replace("{to}", &self.tag);
            let other = self.requests[usize::from(*call) % self.requests.len()].as_bytes();
            let octets = changed(text.as_bytes(), other, changes);
            self.feed(&octets);
        } else if let Some(status) =
            STATUSES.get(n % (self.requests.len() + STATUSES.len() + orders) - self.requests.len())
        {
            let Some(asked) = &self.asked else { return };
            let mut writer = response_to(asked, *status, "peer", SocketAddr::from(([192, 0, 2, 1], 5060)));
            writer
                .header(HeaderName::Contact, "<sip:200@192.0.2.7>")
                .header(HeaderName::WwwAuthenticate, "Digest realm=\"r\", nonce=\"n\"");
            let body = if *status < 300 { crate::sdp::write(&offer(1).0) } else { String::new() };
            let octets = changed(&writer.finish(SDP, body.as_bytes()), self.requests[0].as_bytes(), changes);
            self.feed(&octets);
        } else {
            let mut dialogs: Vec<_> = self.bench.core.shared().with(|core, _| core.dialogs.keys().copied().collect());
            dialogs.sort_by_key(|id: &DialogId| id.to_string());
            let Some(dialog) = dialogs.get(usize::from(*call) % dialogs.len().max(1)) else { return };
            let command = match n % orders {
                0 => SipCommand::Hangup(Cause::hangup()),
                1 => SipCommand::Reoffer(Box::new(offer(7))),
                2 => SipCommand::Info("1#".chars().filter_map(tandem_actors::model::media::Digit::new).collect()),
                _ => SipCommand::Progress { status: 183, answer: None, headers: AppHeaders::default() },
            };
            self.bench.brain.order(*dialog, command);
        }
    }

    fn entries(&self) -> usize {
        self.bench.core.shared().with(|core, _| {
            core.clients.len()
                + core.servers.len()
                + core.dialogs.len()
                + core.names.len()
                + core.merged.len()
                + core.timers.len()
        })
    }
}

#[test]
fn nothing_that_comes_makes_it_panic_or_stays_in_its_tables() {
    bolero::check!().with_test_time(RUN).with_type::<(u8, Vec<Step>)>().for_each(|(manner, steps)| {
        let manners =
            [Manner::Answers, Manner::Rings, Manner::Rejects, Manner::Stalls, Manner::Forwards(9), Manner::Sleeps];
        let meter = Meter::default();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        metrics_of(&meter, || {
            runtime.expect("a runtime").block_on(storm(manners[usize::from(*manner) % manners.len()], steps));
        });
        assert_eq!(meter.count("tandem_sip_dropped_total", Some(("reason", "panic"))), 0, "a panic was caught");
    });
}

fn metrics_of<R>(meter: &Meter, run: impl FnOnce() -> R) -> R {
    ::metrics::with_local_recorder(meter, run)
}

async fn storm(manner: Manner, steps: &[Step]) {
    let mut storm = Storm::new(manner);
    // Every other storm begins with a call.
    if steps.len().is_multiple_of(2) {
        let invite = storm.requests[0].clone();
        storm.feed(invite.as_bytes());
    }
    for step in steps {
        storm.hear();
        storm.step(step);
        tokio::time::sleep(Duration::from_millis(50) * u32::from(step.3)).await;
    }
    // A message leaves a handful of entries, however often what it began is repeated by timers.
    assert!(storm.entries() <= 40 * (storm.fed + steps.len() + 1), "{} entries after {}", storm.entries(), storm.fed);
    for _ in 0..3 {
        let left: Vec<DialogId> = storm.bench.core.shared().with(|core, _| core.dialogs.keys().copied().collect());
        for dialog in left {
            storm.bench.brain.order(dialog, SipCommand::Hangup(Cause::hangup()));
            storm.bench.brain.order(dialog, SipCommand::Forget);
        }
        tokio::time::sleep(Duration::from_secs(100)).await;
    }
    assert!(empty(&storm.bench.core), "something stays: {}", storm.entries());
    // Timers are not cancelled: one of a session that a peer wanted long may stay a dialog.
    assert!(storm.bench.core.shared().with(|core, _| core.timers.len()) <= storm.fed);
}
