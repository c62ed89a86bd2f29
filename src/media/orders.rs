//! What a command does on its thread.

use tandem_actors::ports::media::{MediaEvent, MediaEventKind};

use super::ring::{Command, Retired};
use super::session::Attached;
use super::worker::{Core, End};

impl Core {
    /// Does what a command says.
    pub fn apply(&mut self, command: Command) {
        match command {
            Command::Open(slot, session) => {
                self.take_out(slot);
                let Some(place) = self.sessions.get_mut(slot as usize) else { return self.retire(Some(session)) };
                *place = Some(session);
                self.open += 1;
            }
            Command::Configure(slot, media, agreement) => {
                let now_ns = self.now_ns;
                if let Some(session) = self.session(slot, media) {
                    session.configure(agreement, now_ns);
                }
            }
            Command::Secure(slot, media, sender, receiver) => {
                let Some(session) = self.session(slot, media) else {
                    self.retire(sender.map(|new| new.cipher as Retired));
                    return self.retire(receiver.map(|new| new.cipher as Retired));
                };
                let sender = sender.and_then(|new| session.transmit.rekey(new));
                if receiver.is_some() {
                    session.order.reset();
                }
                let receiver = receiver.and_then(|new| session.receive.rekey(new));
                self.retire(sender.map(|b| b as Retired));
                self.retire(receiver.map(|b| b as Retired));
            }
            Command::Expose(slot, media) => {
                let Some(session) = self.session(slot, media) else { return };
                let (sender, receiver) = (session.transmit.srtp.take(), session.receive.srtp.take());
                self.retire(sender.map(|b| b as Retired));
                self.retire(receiver.map(|b| b as Retired));
            }
            Command::Path(slot, media, path) => self.path(slot, media, path),
            Command::Coder(slot, media, coder) => {
                let retired = match self.session(slot, media) {
                    Some(session) => {
                        session.fifo.clear();
                        session.order.reset();
                        session.coder.replace(coder)
                    }
                    None => Some(coder),
                };
                self.retire(retired.map(|b| b as Retired));
            }
            Command::Attach(slot, media, to, member) => {
                let Some(session) = self.session(slot, media) else {
                    return self.retire(member.map(|b| b as Retired));
                };
                let before = session.attached;
                let member = session.attach(to, member);
                self.retire(member.map(|b| b as Retired));
                if before != to {
                    self.leave_room(before, slot);
                }
                if let Attached::Room(room) = to
                    && let Some(room) = self.room(room)
                {
                    room.join(slot);
                }
            }
            Command::OpenRoom(slot, room) => {
                let before = self.rooms.get_mut(slot as usize).and_then(|place| place.replace(room));
                self.retire(before.map(|b| b as Retired));
            }
            Command::CloseRoom(slot) => {
                let room = self.rooms.get_mut(slot as usize).and_then(Option::take);
                self.retire(room.map(|b| b as Retired));
            }
            Command::Play { slot, media, clip, token, repeat } => self.with(slot, |session, wire, _| {
                if session.seat.media == media {
                    session.play(clip, token, repeat, wire);
                }
            }),
            Command::StopPlay(slot, media) => {
                if let Some(session) = self.session(slot, media) {
                    session.stop_play();
                }
            }
            Command::Digits(slot, media, digits) => {
                if let Some(session) = self.session(slot, media) {
                    for digit in digits.into_iter().flatten() {
                        // overflow: DROPS; 32 digits of 160 ms are five seconds ahead of the peer
                        let _full = session.send_digit(digit);
                    }
                }
            }
            Command::Fence(media, leg, token) => {
                self.ends.events.push(MediaEvent { leg, media, kind: MediaEventKind::Fenced(token) });
            }
            Command::Close(slot, media) => {
                if self.session(slot, media).is_some() {
                    self.take_out(slot);
                }
            }
            Command::Stop => self.stop = Some(End::Stopped),
            Command::Panic(slot) => self.with(slot, |_, _, _| panic!("a fault drill crashes one session")),
            Command::Crash => panic!("a fault drill crashes {}", self.worker),
            Command::Stick(time) => std::thread::sleep(time),
        }
    }
}
