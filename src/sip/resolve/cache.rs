//! What was heard of the domain name system, for as long as it may be believed. Pure; it is told the time.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

use super::{Answer, Question};

/// An answer is used at least this long, whatever its TTL: a TTL of 0 must not make every call wait for a server.
pub const LEAST: Duration = Duration::from_secs(5);
/// And at most this long: an operator who moves a host waits for no longer.
pub const MOST: Duration = Duration::from_secs(3600);
/// The most that "there is none" is believed (RFC 2308 §5 leaves the bound to us): what is added is seen soon.
pub const MOST_NEGATIVE: Duration = Duration::from_secs(300);
/// So long where the server gave no SOA to say it (RFC 2308 §5).
const NEGATIVE: Duration = Duration::from_secs(30);
/// After a failure of the servers they are left alone for this long (RFC 2308 §7 allows up to 5 minutes).
pub const FAILURE: Duration = Duration::from_secs(5);
/// A stale answer is used for this long before the servers are asked again (RFC 8767 §5).
pub const STALE: Duration = Duration::from_secs(30);
/// And is no answer any more when it ran out so long ago (RFC 8767 §5: one to three days).
pub const TOO_STALE: Duration = Duration::from_secs(86_400);
/// Most answers kept.
const MOST_ENTRIES: usize = 8192;

/// What came of a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    /// Records, for so long.
    Found(Answer, Duration),
    /// The name has no such records; for how long, where the server said so.
    Nothing(Option<Duration>),
    /// No server gave an answer.
    Failed,
}

/// The answers.
#[derive(Debug, Default)]
pub struct Cache(HashMap<Question, Entry>);

#[derive(Debug)]
struct Entry {
    answer: Answer,
    /// It is used until then.
    until: Instant,
    /// Its own life ends then; earlier than `until` for a stale one.
    ran_out: Instant,
}

impl Cache {
    /// What is known; `None`: it has to be asked.
    pub fn get(&self, question: &Question, now: Instant) -> Option<&Answer> {
        self.0.get(question).filter(|entry| entry.until > now).map(|entry| &entry.answer)
    }

    /// Takes what came of a question.
    pub fn put(&mut self, question: Question, heard: Heard, now: Instant) {
        let kind = question.kind;
        let entry = match heard {
            Heard::Found(answer, ttl) => {
                let until = now + ttl.clamp(LEAST, MOST);
                Entry { answer, until, ran_out: until }
            }
            Heard::Nothing(ttl) => {
                let until = now + ttl.unwrap_or(NEGATIVE).clamp(LEAST, MOST_NEGATIVE);
                Entry { answer: Answer::nothing(kind), until, ran_out: until }
            }
            Heard::Failed => match self.0.remove(&question).filter(|last| now < last.ran_out + TOO_STALE) {
                Some(last) if last.answer != Answer::nothing(kind) => Entry { until: now + STALE, ..last },
                Some(_) | None => {
                    let until = now + FAILURE;
                    Entry { answer: Answer::nothing(kind), until, ran_out: until }
                }
            },
        };
        self.make_room(now);
        self.0.insert(question, entry);
    }

    fn make_room(&mut self, now: Instant) {
        if self.0.len() < MOST_ENTRIES {
            return;
        }
        self.0.retain(|_, entry| entry.until > now);
        if self.0.len() >= MOST_ENTRIES {
            // Half of them go at once, those that run out first: not one at each answer.
            let mut ends: Vec<Instant> = self.0.values().map(|entry| entry.until).collect();
            ends.sort_unstable();
            let middle = ends.get(ends.len() / 2).copied().unwrap_or(now);
            self.0.retain(|_, entry| entry.until > middle);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::RecordKind;
    use super::*;

    fn question() -> Question {
        Question::new("SIP.example.com.", RecordKind::A)
    }

    fn answer() -> Answer {
        Answer::Addresses(vec![[192, 0, 2, 1].into()])
    }

    fn put(cache: &mut Cache, heard: Heard, now: Instant) {
        cache.put(question(), heard, now);
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_is_believed_for_its_ttl_within_bounds() {
        let now = Instant::now();
        for (ttl, believed) in [(60, 60), (0, 5), (1_000_000, 3600)] {
            let mut cache = Cache::default();
            put(&mut cache, Heard::Found(answer(), Duration::from_secs(ttl)), now);
            let just_before = now + Duration::from_secs(believed) - Duration::from_millis(1);
            assert_eq!(cache.get(&question(), just_before), Some(&answer()));
            assert_eq!(cache.get(&question(), now + Duration::from_secs(believed)), None);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn that_there_is_none_is_believed_as_the_soa_says_up_to_5_minutes() {
        let now = Instant::now();
        for (ttl, believed) in [(Some(60), 60), (None, 30), (Some(86_400), 300)] {
            let mut cache = Cache::default();
            put(&mut cache, Heard::Nothing(ttl.map(Duration::from_secs)), now);
            let just_before = now + Duration::from_secs(believed) - Duration::from_millis(1);
            assert_eq!(cache.get(&question(), just_before), Some(&Answer::Addresses(Vec::new())));
            assert_eq!(cache.get(&question(), now + Duration::from_secs(believed)), None);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn where_the_servers_fail_the_last_answer_stands_in_for_a_day() {
        let now = Instant::now();
        let mut cache = Cache::default();
        put(&mut cache, Heard::Found(answer(), Duration::from_secs(60)), now);
        let later = now + Duration::from_secs(61);
        put(&mut cache, Heard::Failed, later);
        assert_eq!(cache.get(&question(), later), Some(&answer()));
        assert_eq!(cache.get(&question(), later + STALE), None, "then they are asked again");
        put(&mut cache, Heard::Failed, now + Duration::from_secs(60) + TOO_STALE);
        assert_eq!(cache.get(&question(), now + Duration::from_secs(60) + TOO_STALE), Some(&Answer::Addresses(vec![])));
    }

    #[tokio::test(start_paused = true)]
    async fn a_name_that_is_gone_is_not_kept_alive_by_a_stale_answer() {
        let now = Instant::now();
        let mut cache = Cache::default();
        put(&mut cache, Heard::Found(answer(), Duration::from_secs(60)), now);
        put(&mut cache, Heard::Nothing(None), now + Duration::from_secs(61));
        put(&mut cache, Heard::Failed, now + Duration::from_secs(100));
        assert_eq!(cache.get(&question(), now + Duration::from_secs(101)), Some(&Answer::Addresses(vec![])));
    }

    #[tokio::test(start_paused = true)]
    async fn the_cache_does_not_grow_without_end() {
        let now = Instant::now();
        let mut cache = Cache::default();
        for n in 0..3 * MOST_ENTRIES {
            let question = Question::new(&format!("h{n}.example.com"), RecordKind::A);
            let ttl = Duration::from_secs(60 + u64::try_from(n % 600).expect("small"));
            cache.put(question, Heard::Found(answer(), ttl), now);
        }
        assert!(cache.0.len() <= MOST_ENTRIES);
    }
}
