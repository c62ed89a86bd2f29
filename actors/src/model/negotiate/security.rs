//! How offers and answers agree on what protects the stream: nothing, SDES (RFC 4568 §5 and §6), DTLS-SRTP with ICE (RFC 5763,
//! RFC 8839, RFC 8842). Keys are told apart by direction: what a side writes is what it sends with.
//!
//! Deliberately not: session parameters of `a=crypto` (they are refused where they change the protection), several master keys
//! a line, DTLS-SRTP without ICE, ICE-lite towards ICE-lite.

use serde::{Deserialize, Serialize};

use super::{DtlsIce, NegotiateError, Profile, Setup};
use crate::model::srtp::{MasterKey, MediaEncryption, SrtpKeys, SrtpProfile};

/// SRTP with the keys in the description.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sdes {
    /// `RTP/SAVP`: protected or not at all. Otherwise `RTP/AVP`, and whoever does not know `a=crypto` answers in the clear.
    pub required: bool,
    /// The `a=crypto` lines that can be used, in the order of preference; one in an answer.
    pub lines: Vec<Crypto>,
}

/// An `a=crypto` line that can be used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Crypto {
    /// Its tag, which the answer repeats.
    pub tag: u32,
    /// Its crypto-suite.
    pub profile: SrtpProfile,
    /// What the side that wrote it sends with.
    pub key: MasterKey,
    /// The master key identifier in that side's packets; empty for none.
    pub mki: Vec<u8>,
}

/// Our master keys of one leg: one a suite, so that no key ever serves two.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SdesKeys(Vec<(SrtpProfile, MasterKey)>);

impl SdesKeys {
    /// Fresh ones.
    pub fn random() -> Self {
        Self(SrtpProfile::ALL.map(|profile| (profile, MasterKey::random(profile))).into())
    }

    fn of(&self, profile: SrtpProfile) -> Option<&MasterKey> {
        self.0.iter().find_map(|(of, key)| (*of == profile).then_some(key))
    }
}

/// What we are ready to protect a stream with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Security {
    /// Nothing.
    Plain,
    /// SDES.
    Sdes {
        /// Nothing less is offered or taken.
        required: bool,
        /// Our keys.
        keys: SdesKeys,
    },
    /// DTLS-SRTP with ICE: our side of it. With a role other than actpass that one is kept where the peer leaves the choice.
    Dtls(Box<DtlsIce>),
}

/// Both sides of an ICE session and DTLS association, as agreed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dtls {
    /// Ours; its role is that of the handshake, active or passive.
    pub ours: DtlsIce,
    /// The peer's.
    pub theirs: DtlsIce,
}

/// What protects an agreed stream.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Secured {
    /// Nothing.
    #[default]
    Plain,
    /// SRTP with these keys.
    Sdes(Box<SrtpKeys>),
    /// SRTP with the keys of a DTLS handshake.
    Dtls(Box<Dtls>),
}

impl Security {
    /// What `policy` answers an offer of this profile with. `webrtc`: our side of DTLS-SRTP, which is never refused: it gives nothing
    /// away in the description, and browsers know nothing else.
    pub fn toward(policy: MediaEncryption, offer: &Profile, keys: &SdesKeys, webrtc: impl FnOnce() -> DtlsIce) -> Self {
        match (policy, offer) {
            (_, Profile::Dtls(_)) | (MediaEncryption::Dtls, _) => Self::Dtls(Box::new(webrtc())),
            (_, Profile::Plain | Profile::Sdes(_) | Profile::Other(_)) => Self::by_policy(policy, keys),
        }
    }

    /// What `policy` offers over plain ports.
    pub fn by_policy(policy: MediaEncryption, keys: &SdesKeys) -> Self {
        match policy {
            MediaEncryption::None | MediaEncryption::Dtls => Self::Plain,
            MediaEncryption::SdesOptional => Self::Sdes { required: false, keys: keys.clone() },
            MediaEncryption::Sdes => Self::Sdes { required: true, keys: keys.clone() },
        }
    }

    /// Something to ask with whether an offer can be answered; nothing of it is ever said.
    pub(super) fn probe(policy: MediaEncryption, offer: &Profile) -> Self {
        let nobody = || DtlsIce {
            ufrag: String::new(),
            pwd: String::new(),
            lite: true,
            fingerprint: String::new(),
            setup: Setup::Actpass,
            mid: String::new(),
            candidates: Vec::new(),
            audio_level: None,
            ssrc: None,
        };
        Self::toward(policy, offer, &SdesKeys::random(), nobody)
    }

    /// The profile of our offer.
    pub(super) fn offered(&self) -> Profile {
        match self {
            Self::Plain => Profile::Plain,
            Self::Sdes { required, keys } => {
                let known = SrtpProfile::OFFERED.into_iter().filter_map(|profile| Some((profile, keys.of(profile)?)));
                let lines = (1..).zip(known).map(|(tag, (profile, key))| line(tag, profile, key)).collect();
                Profile::Sdes(Sdes { required: *required, lines })
            }
            Self::Dtls(ours) => Profile::Dtls((**ours).clone()),
        }
    }

    /// The profile of our answer, and what it agrees on.
    pub(super) fn answer(&self, offer: &Profile) -> Result<(Profile, Secured), NegotiateError> {
        let refused = |token: &str| Err(NegotiateError::Profile(token.to_owned()));
        match (offer, self) {
            (Profile::Plain, Self::Plain | Self::Sdes { required: false, .. })
            | (Profile::Sdes(Sdes { required: false, .. }), Self::Plain) => Ok((Profile::Plain, Secured::Plain)),
            (Profile::Plain, Self::Sdes { required: true, .. } | Self::Dtls(_)) => refused("RTP/AVP"),
            (Profile::Sdes(offer), Self::Sdes { required, keys }) => match chosen(&offer.lines, keys) {
                Some((theirs, ours)) => {
                    let lines = vec![line(theirs.tag, theirs.profile, ours)];
                    let secured = secured(theirs, ours);
                    Ok((Profile::Sdes(Sdes { required: offer.required, lines }), secured))
                }
                None if !required && !offer.required => Ok((Profile::Plain, Secured::Plain)),
                None => Err(NegotiateError::NoCrypto),
            },
            (Profile::Sdes(Sdes { required: true, .. }), Self::Plain) => refused("RTP/SAVP"),
            (Profile::Sdes(offer), Self::Dtls(_)) => refused(if offer.required { "RTP/SAVP" } else { "RTP/AVP" }),
            (Profile::Dtls(theirs), Self::Dtls(_)) if theirs.lite => Err(NegotiateError::BothLite),
            (Profile::Dtls(theirs), Self::Dtls(mine)) => {
                let ours = DtlsIce {
                    mid: theirs.mid.clone(),
                    setup: answering_role(mine.setup, theirs.setup),
                    audio_level: theirs.audio_level,
                    ..(**mine).clone()
                };
                let agreed = Dtls { ours: ours.clone(), theirs: theirs.clone() };
                Ok((Profile::Dtls(ours), Secured::Dtls(Box::new(agreed))))
            }
            (Profile::Dtls(_), Self::Plain | Self::Sdes { .. }) => refused("UDP/TLS/RTP/SAVPF"),
            (Profile::Other(token), _) => refused(token),
        }
    }
}

/// What an answer makes of our offer.
pub(super) fn accept(offer: &Profile, answer: &Profile) -> Result<Secured, NegotiateError> {
    let refused = |token: &str| Err(NegotiateError::Profile(token.to_owned()));
    match (offer, answer) {
        // Where we did not ask for it, `a=crypto` says nothing that was agreed on.
        (Profile::Plain, Profile::Plain | Profile::Sdes(Sdes { required: false, .. }))
        | (Profile::Sdes(Sdes { required: false, .. }), Profile::Plain) => Ok(Secured::Plain),
        (Profile::Sdes(_), Profile::Plain) => refused("RTP/AVP"),
        (Profile::Sdes(ours), Profile::Sdes(theirs)) => {
            // RFC 4568 §5.1.3: one line, with the tag and the suite of one of ours.
            let [theirs] = theirs.lines.as_slice() else { return Err(NegotiateError::NoCrypto) };
            let ours = ours.lines.iter().find(|line| (line.tag, line.profile) == (theirs.tag, theirs.profile));
            Ok(secured(theirs, &ours.ok_or(NegotiateError::NoCrypto)?.key))
        }
        (Profile::Dtls(_), Profile::Dtls(theirs)) if theirs.lite => Err(NegotiateError::BothLite),
        (Profile::Dtls(ours), Profile::Dtls(theirs)) => {
            // The answer's role decides (RFC 8842 §5.3); whoever answers actpass all the same is taken to begin.
            let setup = if theirs.setup == Setup::Passive { Setup::Active } else { Setup::Passive };
            let ours = DtlsIce { setup, ..ours.clone() };
            Ok(Secured::Dtls(Box::new(Dtls { ours, theirs: theirs.clone() })))
        }
        (Profile::Plain | Profile::Dtls(_) | Profile::Other(_), Profile::Sdes(Sdes { required: true, .. })) => {
            refused("RTP/SAVP")
        }
        (Profile::Dtls(_) | Profile::Other(_), Profile::Plain | Profile::Sdes(_)) => refused("RTP/AVP"),
        (Profile::Plain | Profile::Sdes(_) | Profile::Other(_), Profile::Dtls(_)) => refused("UDP/TLS/RTP/SAVPF"),
        (_, Profile::Other(token)) => refused(token),
    }
}

/// RFC 8842 §5.3: a role that the offer leaves open stays what it was; otherwise we wait for the ClientHello.
fn answering_role(before: Setup, theirs: Setup) -> Setup {
    match (theirs, before) {
        (Setup::Passive, _) | (Setup::Actpass, Setup::Active) => Setup::Active,
        (Setup::Active, _) | (Setup::Actpass, Setup::Passive | Setup::Actpass) => Setup::Passive,
    }
}

/// RFC 4568 §5.1.2: the offerer's order is its preference.
fn chosen<'a>(theirs: &'a [Crypto], ours: &'a SdesKeys) -> Option<(&'a Crypto, &'a MasterKey)> {
    theirs.iter().find_map(|line| Some((line, ours.of(line.profile)?)))
}

fn secured(theirs: &Crypto, ours: &MasterKey) -> Secured {
    Secured::Sdes(Box::new(SrtpKeys {
        profile: theirs.profile,
        send: ours.clone(),
        receive: theirs.key.clone(),
        receive_mki: theirs.mki.clone(),
    }))
}

fn line(tag: u32, profile: SrtpProfile, key: &MasterKey) -> Crypto {
    Crypto { tag, profile, key: key.clone(), mki: Vec::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sdes(required: bool) -> (Security, SdesKeys) {
        let keys = SdesKeys::random();
        (Security::Sdes { required, keys: keys.clone() }, keys)
    }

    fn lines(profile: &Profile) -> &[Crypto] {
        let Profile::Sdes(sdes) = profile else { panic!("no SDES: {profile:?}") };
        &sdes.lines
    }

    fn offer(required: bool, profiles: &[SrtpProfile]) -> Profile {
        let lines =
            (3..).zip(profiles).map(|(tag, profile)| line(tag, *profile, &MasterKey::random(*profile))).collect();
        Profile::Sdes(Sdes { required, lines })
    }

    fn ice(setup: Setup) -> DtlsIce {
        let Security::Dtls(mut ice) = Security::probe(MediaEncryption::Dtls, &Profile::Plain) else {
            panic!("no DTLS")
        };
        (ice.setup, ice.lite) = (setup, false);
        *ice
    }

    #[test]
    fn the_answer_repeats_the_tag_of_the_offerers_first_line_that_we_know_with_a_key_of_its_own() {
        let (ours, keys) = sdes(false);
        let offer = offer(true, &[SrtpProfile::AesCm128HmacSha1_32, SrtpProfile::AeadAes128Gcm]);
        let (answer, secured) = ours.answer(&offer).expect("an answer");
        let [line] = lines(&answer) else { panic!("one line: {answer:?}") };
        assert_eq!((line.tag, line.profile), (3, SrtpProfile::AesCm128HmacSha1_32));
        let Secured::Sdes(agreed) = secured else { panic!("no keys") };
        assert_eq!(Some(&agreed.send), keys.of(agreed.profile));
        assert_eq!((&agreed.send, &agreed.receive), (&line.key, &lines(&offer)[0].key));
        assert_ne!(agreed.send, agreed.receive);
    }

    #[test]
    fn an_answer_with_a_tag_or_suite_that_was_not_offered_is_refused() {
        let ours = sdes(true).0.offered();
        let answer = |tag, profile| {
            let lines = vec![line(tag, profile, &MasterKey::random(profile))];
            accept(&ours, &Profile::Sdes(Sdes { required: true, lines }))
        };
        assert!(matches!(answer(1, SrtpProfile::AeadAes128Gcm), Ok(Secured::Sdes(_))));
        assert_eq!(answer(3, SrtpProfile::AeadAes128Gcm), Err(NegotiateError::NoCrypto));
        assert_eq!(answer(1, SrtpProfile::AesCm128HmacSha1_80), Err(NegotiateError::NoCrypto));
        let both = Profile::Sdes(Sdes { required: true, lines: lines(&ours).to_vec() });
        assert_eq!(accept(&ours, &both), Err(NegotiateError::NoCrypto), "an answer has one line");
    }

    #[test]
    fn both_sides_agree_on_the_same_keys_crosswise() {
        let (offerer, answerer) = (sdes(true).0.offered(), sdes(true).0);
        let (answer, theirs) = answerer.answer(&offerer).expect("an answer");
        let (Ok(Secured::Sdes(ours)), Secured::Sdes(theirs)) = (accept(&offerer, &answer), theirs) else {
            panic!("no keys")
        };
        assert_eq!((ours.profile, &ours.send, &ours.receive), (theirs.profile, &theirs.receive, &theirs.send));
    }

    #[test]
    fn each_policy_takes_and_refuses_what_it_says() {
        use MediaEncryption as P;
        let known = [SrtpProfile::AesCm128HmacSha1_80];
        let unknown: [SrtpProfile; 0] = [];
        let offers = [
            Profile::Plain,
            offer(false, &known),
            offer(true, &known),
            offer(true, &unknown),
            offer(false, &unknown),
            Profile::Dtls(ice(Setup::Actpass)),
        ];
        // p: answered in the clear, s: with SDES, d: with DTLS, the Warning where refused.
        let cases = [
            (P::None, ["p", "p", "302", "302", "p", "d"]),
            (P::SdesOptional, ["p", "s", "s", "306", "p", "d"]),
            (P::Sdes, ["302", "s", "s", "306", "306", "d"]),
            (P::Dtls, ["302", "302", "302", "302", "302", "d"]),
        ];
        for (policy, wanted) in cases {
            let found = offers.each_ref().map(|offer| match Security::probe(policy, offer).answer(offer) {
                Ok((_, Secured::Plain)) => "p".to_owned(),
                Ok((_, Secured::Sdes(_))) => "s".to_owned(),
                Ok((_, Secured::Dtls(_))) => "d".to_owned(),
                Err(error) => error.warning().to_string(),
            });
            assert_eq!(found, wanted, "{policy:?}");
        }
    }

    #[test]
    fn an_answer_in_the_clear_is_taken_only_where_protection_was_optional() {
        assert_eq!(accept(&sdes(false).0.offered(), &Profile::Plain), Ok(Secured::Plain));
        let required = accept(&sdes(true).0.offered(), &Profile::Plain);
        assert_eq!(required, Err(NegotiateError::Profile("RTP/AVP".into())));
        let dtls = accept(&Profile::Dtls(ice(Setup::Actpass)), &Profile::Plain);
        assert_eq!(dtls, Err(NegotiateError::Profile("RTP/AVP".into())));
    }

    #[test]
    fn the_dtls_role_is_the_answerers_choice_and_stays_while_it_is_left_open() {
        let role = |before, theirs| {
            let ours = Security::Dtls(Box::new(ice(before)));
            match ours.answer(&Profile::Dtls(ice(theirs))) {
                Ok((_, Secured::Dtls(agreed))) => agreed.ours.setup,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(role(Setup::Actpass, Setup::Actpass), Setup::Passive);
        assert_eq!(role(Setup::Actpass, Setup::Passive), Setup::Active);
        assert_eq!(role(Setup::Active, Setup::Actpass), Setup::Active);
        assert_eq!(role(Setup::Active, Setup::Active), Setup::Passive);
        let offer = Profile::Dtls(ice(Setup::Actpass));
        for (theirs, wanted) in [(Setup::Active, Setup::Passive), (Setup::Passive, Setup::Active)] {
            let Ok(Secured::Dtls(agreed)) = accept(&offer, &Profile::Dtls(ice(theirs))) else { panic!("refused") };
            assert_eq!(agreed.ours.setup, wanted);
        }
    }

    #[test]
    fn ice_lite_on_both_sides_is_refused() {
        let lite = Profile::Dtls(DtlsIce { lite: true, ..ice(Setup::Actpass) });
        let ours = Security::Dtls(Box::new(ice(Setup::Actpass)));
        assert_eq!(ours.answer(&lite), Err(NegotiateError::BothLite));
        assert_eq!(accept(&Profile::Dtls(ice(Setup::Actpass)), &lite), Err(NegotiateError::BothLite));
    }
}
