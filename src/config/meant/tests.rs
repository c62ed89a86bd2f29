//! What is refused before a port is bound, and in which words.

use std::path::Path;

use tandem_actors::model::plan::{CallerIdPolicy, NumberFormat};
use tandem_actors::model::srtp::MediaEncryption;

use super::super::{load, parse};
use super::*;

/// The shipped file's folder, for its prompts.
fn file() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("config/t.toml")
}

fn good(text: &str) -> Config {
    parse(&file(), text, []).unwrap_or_else(|problems| panic!("{problems}"))
}

/// Messages without the file's name.
fn bad(text: &str) -> Vec<String> {
    let name = format!("{}:", file().display());
    let problems = parse(&file(), text, []).expect_err("a mistake").to_string();
    problems.lines().map(|line| line.strip_prefix(&name).unwrap_or(line).to_owned()).collect()
}

#[test]
fn the_shipped_files_are_right() {
    let config =
        load(&Path::new(env!("CARGO_MANIFEST_DIR")).join("config/tandem.toml"), []).unwrap_or_else(|p| panic!("{p}"));
    assert!(config.brain.modes.ivr && config.brain.modes.sip_to_rtc && config.brain.modes.rtc_to_sip);
    let welcome = config.brain.services.get("welcome").expect("the service");
    assert_eq!(welcome.numbers, ["9000"]);
    assert_eq!(config.sip.listeners[0].transports, [Transport::Udp, Transport::Tcp]);
    assert!(config.data_dir.ends_with("data"));
    load(&Path::new(env!("CARGO_MANIFEST_DIR")).join("config/dev.toml"), []).unwrap_or_else(|p| panic!("{p}"));
}

#[test]
fn an_empty_file_is_all_defaults() {
    let config = good("");
    assert_eq!(config.brain.limits.max_calls, Limits::default().max_calls);
    assert_eq!(config.brain.limits.no_rtp_timeout, Limits::default().no_rtp_timeout);
    assert_eq!(config.media.rtp_ports, 10000..=19999);
    assert!(config.brain.rtc_to_sip.numbers.contains("1001"));
    assert!(config.media.threads >= 1);
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let text = load("/nowhere/tandem.toml".as_ref(), []).expect_err("no file").to_string();
    assert!(text.starts_with("/nowhere/tandem.toml: cannot be read"), "{text}");
    assert!(text.contains("--config"));
}

#[test]
fn ports_that_meet_are_refused() {
    let list = bad("[rtp]\nports = \"8000-9000\"\n[http]\nlisten = \"127.0.0.1:5060\"\n");
    assert_eq!(
        list,
        [
            " rtc.port: UDP port 8444 is also that of rtp.ports; give one of them another port",
            "4: http.listen: TCP port 5060 is also that of sip.listeners[0].listen; give one of them another port"
        ]
    );
    // UDP and TCP do not meet, nor do two addresses.
    good("[http]\nlisten = \"127.0.0.1:8080\"\nhttps_listen = \"127.0.0.2:8080\"\n[rtc]\nport = 8080\n");
}

#[test]
fn a_flow_that_leads_nowhere_is_refused_with_the_nearest_name() {
    let list = bad(r#"
[[services]]
id = "w"
start = "gret"
[services.steps.greet]
do = "play"
prompt = "welcom"
next = "bye"
[services.steps.ring]
do = "dial"
to = "trunk:acme:+4930123"
"#);
    assert_eq!(list.len(), 4, "{list:#?}");
    assert_eq!(list[0], "4: services[0].start: there is no step \"gret\"; did you mean \"greet\"?");
    assert_eq!(list[1], "7: services[0].steps.greet.prompt: there is no prompt \"welcom\"; did you mean \"welcome\"?");
    assert!(list[2].starts_with("8: services[0].steps.greet.next: there is no step \"bye\""));
    assert!(list[3].starts_with("11: services[0].steps.ring.to: there is no trunk \"acme\""));
}

fn flow(steps: &[(&str, &str)]) -> String {
    let steps = steps.iter().map(|(name, rest)| format!("[services.steps.{name}]\n{rest}\n"));
    format!("[[services]]\nid = \"w\"\nstart = \"a\"\n{}", steps.collect::<String>())
}

#[test]
fn dials_that_lead_to_each_other_without_end_are_refused() {
    let dial = |on_fail: &str| format!("do = \"dial\"\nto = \"user:alice\"\non_fail = \"{on_fail}\"");
    let play = "do = \"play\"\nprompt = \"welcome\"\nnext = \"a\"";
    let menu = "do = \"menu\"\nprompt = \"menu\"\nchoices = { \"1\" = \"a\" }\non_timeout = \"a\"";
    let without_end = |steps: &str| {
        format!(
            "the steps {steps} can follow each other without a pause and without end; \
             lead one of them to a menu, a longer prompt or hangup"
        )
    };
    assert_eq!(bad(&flow(&[("a", &dial("a"))])), [format!("7: services[0].steps.a.on_fail: {}", without_end("a"))]);
    // Once for a round, whoever leads to it.
    assert_eq!(
        bad(&flow(&[("a", &dial("b")), ("b", &dial("c")), ("c", &dial("b"))])),
        [format!("15: services[0].steps.c.on_fail: {}", without_end("b, c"))]
    );
    good(&flow(&[("a", &dial("b")), ("b", play)]));
    good(&flow(&[("a", &dial("b")), ("b", menu)]));
}

#[test]
fn prompts_that_are_over_at_once_do_not_make_a_round_take_time() {
    let folder = tempfile::tempdir().expect("a folder");
    let spec =
        hound::WavSpec { channels: 1, sample_rate: 8000, bits_per_sample: 16, sample_format: hound::SampleFormat::Int };
    for (name, samples) in [("click", 80), ("song", 8000)] {
        let mut wav = hound::WavWriter::create(folder.path().join(format!("{name}.wav")), spec).expect("a file");
        (0..samples).for_each(|_| wav.write_sample(0_i16).expect("a sample"));
        wav.finalize().expect("a prompt");
    }
    let text = |prompt: &str| {
        let play = format!("do = \"play\"\nprompt = \"{prompt}\"\nnext = \"a\"");
        format!("prompts_dir = {:?}\n{}", folder.path(), flow(&[("a", &play)]))
    };
    good(&text("song"));
    let list = bad(&text("click"));
    assert!(list[0].starts_with("8: services[0].steps.a.next: the steps a can follow each other"), "{list:#?}");
}

#[test]
fn number_rules_that_overlap_are_refused() {
    let list = bad("[modes.rtc_to_sip]\nnumbers = \"1016;10[01-20]\"\n");
    assert!(list[0].starts_with("2: modes.rtc_to_sip.numbers: "), "{list:#?}");
    assert!(bad("[modes.rtc_to_sip]\nnumbers = \"20[05-01]\"\n")[0].contains("from < to"));
}

#[test]
fn a_number_leads_to_one_place() {
    let list = bad(r#"
[modes.rtc_to_sip]
numbers = "9000;42"
[[services]]
id = "a"
numbers = ["9000", "9001"]
start = "s"
[services.steps.s]
do = "dial"
to = "user:42"
[[services]]
id = "b"
numbers = ["9001"]
start = "s"
[services.steps.s]
do = "hangup"
"#);
    assert_eq!(list.len(), 3, "{list:#?}");
    assert!(list[0].starts_with("6: services[0].numbers[0]: 9000 is also a phone's"));
    assert!(list[1].contains("the user id \"42\" is also a phone's"));
    assert!(list[2].starts_with("13: services[1].numbers[0]: 9001 is also that of the service \"a\""));
}

#[test]
fn a_trunk_is_read_whole() {
    let config = good(
        r#"
[[trunks]]
name = "acme"
host = "sip.example.com"
username = "4930123"
password = "s3cret"
register = true
listener = "main"
allowed_addresses = ["192.0.2.0/24"]
routes = { "4930123" = "user:alice", "*" = "room:lobby" }
caller_id = "4930123"
[modes.rtc_to_sip]
pstn_trunk = "acme"
allow = ["+49"]
"#,
    );
    let access = &config.sip.trunks[0];
    assert_eq!((access.auth_user.as_str(), access.port), ("4930123", None));
    assert_eq!(access.listener, ListenerId::new("main").ok());
    assert!(!format!("{config:?}").contains("s3cret"));
    let trunk = config.brain.trunks.get("acme").expect("the trunk");
    assert_eq!(trunk.routes.len(), 2);
    assert_eq!(trunk.caller_id, CallerIdPolicy::Fixed("4930123".into()));
    assert_eq!(trunk.codecs, config.brain.sip_codecs);
    assert_eq!(config.brain.rtc_to_sip.pstn_trunk, TrunkId::new("acme").ok());
}

#[test]
fn a_trunks_numbers_are_read_and_those_that_are_none_refused() {
    let config = good(
        "[[trunks]]\nname = \"a\"\nhost = \"h\"\ncaller_id = \"+493012300\"\ncaller_id_allowed = \"+4930123[00-99]\"\n\
         country_code = \"49\"\nnumber_format = \"e164\"\ncaller_id_format = \"national\"\nasserted_id = \"pass\"\n\
         identity_headers = [\"ppi\", \"rpid\"]\ntrust_id_outbound = false\nnumber_uri = \"tel\"\n",
    );
    let trunk = config.brain.trunks.get("a").expect("the trunk");
    assert!(matches!(&trunk.caller_id, CallerIdPolicy::OneOf { default, .. } if default == "+493012300"));
    assert_eq!((trunk.numbers.called, trunk.numbers.caller), (NumberFormat::E164, NumberFormat::National));
    assert_eq!(trunk.numbers.plan.e164("03012301").as_deref(), Some("+493012301"));
    let telling = &config.sip.trunks[0].identity;
    assert_eq!((telling.believed, telling.trusted, telling.headers.len()), (true, false, 2));
    assert_eq!(telling.phone_context.as_deref(), Some("+49"));
    let list = bad("[[trunks]]\nname = \"a\"\nhost = \"h\"\ncaller_id_allowed = \"+49\"\ncountry_code = \"0049\"\n\
         national_prefix = \"x\"\nasserted_id = \"alice\"\n[[trunks]]\nname = \"b\"\nhost = \"h\"\nnumber_format = \"national\"\n");
    let all = list.join("\n");
    for part in [
        "4: trunks[0].caller_id_allowed: nothing says what is shown",
        "5: trunks[0].country_code: \"0049\" is no country code",
        "6: trunks[0].national_prefix: \"x\" cannot be dialled",
        "7: trunks[0].asserted_id: \"alice\" is no number",
        "11: trunks[1].number_format: nothing says which nation's",
    ] {
        assert!(all.contains(part), "{part} in\n{all}");
    }
}

#[test]
fn a_trunk_with_holes_is_refused() {
    let list = bad(
        "[[trunks]]\nname = \"a\"\nregister = true\n[[trunks]]\nname = \"a\"\nhost = \"h\"\nroutes = { \"*\" = \"alice\" }\n[modes.rtc_to_sip]\npstn_trunk = \"b\"\n",
    );
    let all = list.join("\n");
    for part in [
        "trunks[0].host: \"\" is no host",
        "3: trunks[0].register: there is no username",
        "5: trunks[1].name: another trunk is named \"a\" too",
        "7: trunks[1].routes.*: \"alice\" leads nowhere",
        "9: modes.rtc_to_sip.pstn_trunk: there is no trunk \"b\"; did you mean \"a\"?",
    ] {
        assert!(all.contains(part), "{part} in\n{all}");
    }
}

#[test]
fn a_time_that_no_clock_holds_or_that_is_none_is_refused() {
    let most = u64::try_from(i64::MAX).expect("TOML's largest number");
    let list = bad(&format!(
        "[limits]\ndrain_s = {most}\n[modes.sip_to_rtc]\nring_timeout_s = {most}\n[[trunks]]\nname = \"a\"\nhost = \"h\"\n\
         register_expires_s = {most}\noptions_interval_s = {most}\nring_timeout_s = {most}\n[[services]]\nid = \"w\"\n\
         start = \"a\"\n[services.steps.a]\ndo = \"dial\"\nto = \"user:alice\"\ntimeout_s = {most}\n"
    ));
    let from = |least: u64| format!("{most} s; write {least} to 3162240000");
    assert_eq!(
        list,
        [
            format!("2: limits.drain_s: {}", from(0)),
            format!("4: modes.sip_to_rtc.ring_timeout_s: {}", from(0)),
            format!("8: trunks[0].register_expires_s: {}", from(0)),
            format!("9: trunks[0].options_interval_s: {}", from(0)),
            format!("10: trunks[0].ring_timeout_s: {}", from(1)),
            format!("17: services[0].steps.a.timeout_s: {}", from(1)),
        ]
    );
    let list = bad(&flow(&[("a", "do = \"dial\"\nto = \"user:alice\"\ntimeout_s = 0")]));
    assert_eq!(list, ["7: services[0].steps.a.timeout_s: 0 s; write 1 to 3162240000"]);
}

#[test]
fn a_certificate_needs_its_key() {
    let list = bad("[http]\ncertificate = \"x.pem\"\n");
    assert!(list[0].contains("http.private_key: there is a certificate without a private key"), "{list:#?}");
    let list = bad("[http]\ncertificate = \"x.pem\"\nprivate_key = \"y.pem\"\n");
    assert_eq!(list.len(), 2);
    assert!(list[0].starts_with("2: http.certificate: ") && list[0].contains("x.pem"));
}

#[test]
fn what_protects_media_is_told_by_trunk_and_else_for_all() {
    let trunk = "[[trunks]]\nname = \"a\"\nhost = \"h.test\"\n";
    let config = good(&format!("[sip]\nmedia_encryption = \"dtls\"\n{trunk}media_encryption = \"none\"\n"));
    let of = |config: &Config| config.brain.trunks.values().map(|trunk| trunk.media_encryption).collect::<Vec<_>>();
    assert_eq!((config.brain.sip_encryption, of(&config)), (MediaEncryption::Dtls, vec![MediaEncryption::None]));
    let config = good(&format!("[sip]\nmedia_encryption = \"dtls\"\n{trunk}"));
    assert_eq!(of(&config), [MediaEncryption::Dtls]);
    assert_eq!(good("").brain.sip_encryption, MediaEncryption::None);
}

#[test]
fn srtp_keys_over_sip_in_the_clear_are_warned_of() {
    let trunk = "[[trunks]]\nname = \"a\"\nhost = \"h.test\"\nmedia_encryption = \"sdes\"\n";
    let warnings = good(trunk).warnings.expect("a warning").to_string();
    assert!(warnings.contains(":4: trunks[0].media_encryption: its SIP is not encrypted"), "{warnings}");
    let warnings = good("[sip]\nmedia_encryption = \"sdes_optional\"\n").warnings.expect("a warning").to_string();
    assert!(warnings.contains(":2: sip.media_encryption: "), "{warnings}");
    assert_eq!(good("[sip]\nmedia_encryption = \"dtls\"\n").warnings, None);
}

#[test]
fn the_database_is_sqlite_or_postgresql_and_its_url_is_not_repeated() {
    assert_eq!(good("").store_url(), None);
    let url = "postgres://tandem:secret@db/tandem";
    assert_eq!(good(&format!("[store]\nurl = \"{url}\"\n")).store_url(), Some(url));
    let list = bad("[store]\nurl = \"mysql://tandem:secret@db/tandem\"\n");
    assert!(list[0].starts_with("2: store.url: it is no URL") && !list[0].contains("secret"), "{list:#?}");
}

#[test]
fn what_a_registrar_grants_fits_together() {
    let list = bad("[registrar]\nmin_expires_s = 4000\nmax_contacts = 0\nnat_keepalive_s = 1\n");
    let keys: Vec<_> = list.iter().filter_map(|line| line.split(": ").nth(1)).collect();
    let wrong = ["nat_keepalive_s", "min_expires_s", "default_expires_s", "max_contacts"];
    assert!(wrong.iter().all(|key| keys.contains(&format!("registrar.{key}").as_str())), "{list:#?}");
}

#[test]
fn a_line_says_how_it_is_called_and_is_called_once() {
    let trunk = |lines: &str| format!("[[trunks]]\nname = \"sim\"\nhost = \"\"\nlines = [{lines}]\n");
    let good = good(&trunk("{ name = \"a\", subscriber = \"sim1\" }, { name = \"b\", subscriber = \"sim2\" }"));
    assert!(good.sip.trunks.is_empty(), "nothing to send to but its lines");
    assert_eq!(good.brain.trunks.values().next().map(|trunk| trunk.lines.lines.len()), Some(2));
    for (lines, wrong) in [
        ("{ name = \"a\" }", "nothing says how"),
        ("{ name = \"a\", subscriber = \"s\", prefix = \"1\" }", "there is a subscriber too"),
        ("{ name = \"a\", subscriber = \"s\" }, { name = \"b\", subscriber = \"s\" }", "registers as \"s\" too"),
        ("{ name = \"a\", subscriber = \"s\" }, { name = \"a\", subscriber = \"t\" }", "another line is named"),
        ("{ name = \"a\", prefix = \"1\" }", "host"),
        ("{ name = \"a\", prefix = \"+1\" }", "cannot be dialled"),
    ] {
        let list = bad(&trunk(lines));
        assert!(list.iter().any(|line| line.contains(wrong)), "{wrong}: {list:#?}");
    }
}
