//! What is known of the neighbours a trunk may lead to: `profile = "NAME"` in a `[[trunks]]` gives it the keys of
//! `config/profiles/NAME.toml`, beneath its own. The files are inside the program: there is nothing to forget at an installation.

use toml::{Table, Value};

use super::problem::{Problem, nearest};
use super::read::Places;

macro_rules! shipped {
    ($($name:literal),* $(,)?) => {
        /// Names and texts of all of them.
        const SHIPPED: &[(&str, &str)] =
            &[$(($name, include_str!(concat!("../../config/profiles/", $name, ".toml")))),*];
    };
}

shipped!("asterisk", "carrier", "freeswitch", "ims", "kamailio", "linphone", "sim_gateway", "vos");

/// Gives every trunk that names a profile the keys it has not written itself.
pub(super) fn apply(table: &mut Table, places: &Places) -> Vec<Problem> {
    let mut problems = Vec::new();
    let trunks = table.get_mut("trunks").and_then(Value::as_array_mut).into_iter().flatten();
    for (n, trunk) in trunks.filter_map(Value::as_table_mut).enumerate() {
        // A profile that is no text is told as any key of a wrong type is.
        let Some(wanted) = trunk.get("profile").and_then(Value::as_str).filter(|name| !name.is_empty()) else {
            continue;
        };
        let Some((_, text)) = SHIPPED.iter().find(|(name, _)| *name == wanted) else {
            let key = format!("trunks[{n}].profile");
            let names = SHIPPED.iter().map(|(name, _)| *name);
            let remedy = match nearest(wanted, names.clone()) {
                Some(name) => format!("did you mean \"{name}\"?"),
                None => format!("known here: {}", names.collect::<Vec<_>>().join(", ")),
            };
            let what = format!("there is no profile \"{wanted}\"");
            problems.push(Problem { place: places.of(&key), key, what, remedy });
            continue;
        };
        for (key, value) in text.parse::<Table>().unwrap_or_default() {
            trunk.entry(key).or_insert(value);
        }
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::super::raw::{Raw, Trunk};
    use super::super::read::read;
    use super::*;

    fn trunk(text: &str) -> Trunk {
        let (raw, _, problems) = read(text, []);
        assert!(problems.is_empty(), "{problems:?}");
        let Raw { mut trunks, .. } = raw.expect("a configuration");
        trunks.remove(0)
    }

    #[test]
    fn every_profile_has_only_keys_of_a_trunk_and_says_what_it_is() {
        for (name, text) in SHIPPED {
            assert!(text.starts_with("# "), "{name}");
            let given: Trunk = toml::from_str(text).unwrap_or_else(|error| panic!("{name}: {error}"));
            assert!(!given.codecs.is_empty(), "{name}");
            assert!(
                given.host.is_empty() && given.name.is_empty() && given.username.is_empty(),
                "{name} is nobody's own"
            );
        }
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/config/profiles");
        let files = std::fs::read_dir(folder).expect("the folder").count();
        assert_eq!(files, SHIPPED.len(), "each file is shipped");
    }

    #[test]
    fn a_profile_gives_a_trunk_its_keys_and_own_keys_win() {
        let given = trunk("[[trunks]]\nname = \"a\"\nhost = \"h\"\nprofile = \"vos\"\noptions_interval_s = 7\n");
        assert_eq!((given.options_interval_s, given.register_expires_s), (7, 300));
        assert_eq!(given.codecs, [tandem_actors::model::media::Codec::Pcma, tandem_actors::model::media::Codec::Pcmu]);
        assert_eq!(trunk("[[trunks]]\nname = \"a\"\nhost = \"h\"\n").register_expires_s, 3600);
    }

    #[test]
    fn an_unknown_profile_is_named_with_its_line_and_the_nearest_known_one() {
        let (_, _, problems) = read("[[trunks]]\nname = \"a\"\nprofile = \"asterix\"\n", []);
        let text = super::super::problem::Problems::new("t.toml".as_ref(), problems).to_string();
        assert!(text.contains("t.toml:3: trunks[0].profile: there is no profile \"asterix\""), "{text}");
        assert!(text.contains("did you mean \"asterisk\"?"), "{text}");
    }
}
