//! Telephone numbers as a trunk writes them, and as we do: E.164 with `+` (RFC 3966 §5.1.4 global numbers). Which number of a
//! caller a trunk is shown.
//!
//! A plan knows its country and two prefixes, and no lengths: national numbering plans have thousands of those. Two guesses are
//! made, both of numbers no national network dials so: the country's code before at least seven digits, and ten digits in
//! country 1.

use serde::{Deserialize, Serialize};

use super::settings::NumberRules;

/// How a network dials.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NumberPlan {
    /// Country code, digits; empty: numbers are taken as they come.
    pub country: String,
    /// What stands before an area code at home; empty in countries without.
    pub national: String,
    /// What stands before a country code.
    pub international: String,
    /// Global numbers come without `+` and prefix.
    pub bare: bool,
}

/// How a number is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NumberFormat {
    /// As it is.
    #[default]
    AsIs,
    /// `+4930123456`.
    E164,
    /// `4930123456`.
    E164Bare,
    /// As dialled at home: `030123456`, and `0033…` abroad.
    National,
}

/// Digits that a subscriber's number has at least, without its country.
const LEAST: usize = 4;
/// Digits of a number that nothing but its length tells to be no extension.
const LEAST_UNMARKED: usize = 7;
/// E.164 §6.2.1: fifteen, and some for networks that add their own.
const MOST: usize = 20;

/// A number without what people put between digits (RFC 3966 §5.1.1); `None` where it has anything else in it.
pub fn digits(number: &str) -> Option<String> {
    let (plus, rest) = number.strip_prefix('+').map_or(("", number), |rest| ("+", rest));
    let kept: String = rest.chars().filter(|c| !matches!(c, '-' | '.' | '(' | ')' | ' ')).collect();
    let ok = !kept.is_empty() && kept.bytes().all(|b| b.is_ascii_digit());
    ok.then(|| format!("{plus}{kept}"))
}

impl NumberPlan {
    /// The number with its `+`; `None` where nothing says which it is: an extension, a service, a name.
    pub fn e164(&self, number: &str) -> Option<String> {
        let number = digits(number)?;
        let global = |rest: &str| (LEAST + 1..=MOST).contains(&rest.len()).then(|| format!("+{rest}"));
        let home = |rest: &str| {
            (LEAST..=MOST - self.country.len()).contains(&rest.len()).then(|| format!("+{}{rest}", self.country))
        };
        if let Some(rest) = number.strip_prefix('+') {
            return global(rest);
        }
        if self.country.is_empty() {
            return (self.bare && number.len() >= LEAST_UNMARKED).then(|| format!("+{number}"));
        }
        let after = |prefix: &str| number.strip_prefix(prefix).filter(|_| !prefix.is_empty());
        if let Some(rest) = after(&self.international) {
            return global(rest);
        }
        let north_america = self.country == "1" && number.len() == 10;
        if north_america {
            return home(&number);
        }
        // Before the bare form: where the prefix is the country's code (1), both are the same number.
        if let Some(rest) = after(&self.national) {
            return home(rest);
        }
        let coded = number.strip_prefix(&self.country).is_some_and(|rest| rest.len() >= LEAST_UNMARKED);
        if coded || (self.bare && number.len() >= LEAST_UNMARKED) {
            return global(&number);
        }
        if self.national.is_empty() && number.len() >= LEAST_UNMARKED { home(&number) } else { None }
    }

    /// The number as this network wants it written; as it is where it cannot be told which it is.
    pub fn write(&self, number: &str, format: NumberFormat) -> String {
        let Some(e164) = self.e164(number).filter(|_| format != NumberFormat::AsIs) else { return number.to_owned() };
        let bare = e164.trim_start_matches('+');
        match format {
            NumberFormat::AsIs | NumberFormat::E164 => e164,
            NumberFormat::E164Bare => bare.to_owned(),
            NumberFormat::National => match bare.strip_prefix(&self.country).filter(|_| !self.country.is_empty()) {
                Some(rest) => format!("{}{rest}", self.national),
                None => format!("{}{bare}", self.international),
            },
        }
    }
}

/// What a trunk is shown as the caller.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum CallerIdPolicy {
    /// The caller's own number or user id.
    #[default]
    Pass,
    /// Always this number.
    Fixed(String),
    /// The number the caller prefers (P-Preferred-Identity, or From) or its own, where it is one of these; else another.
    OneOf {
        /// Numbers that may be shown.
        allowed: NumberRules,
        /// What is shown instead.
        default: String,
    },
}

impl CallerIdPolicy {
    /// The number to show, of those that the caller has, the one it would like first.
    pub fn choose<'a>(&'a self, plan: &NumberPlan, preferred: Option<&'a str>, own: &'a str) -> &'a str {
        match self {
            Self::Pass => own,
            Self::Fixed(number) => number,
            Self::OneOf { allowed, default } => {
                let may =
                    |number: &&str| allowed.contains(number) || plan.e164(number).is_some_and(|n| allowed.contains(&n));
                preferred.into_iter().chain([own]).find(may).unwrap_or(default)
            }
        }
    }
}

/// A trunk's numbers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TrunkNumbers {
    /// How its network dials.
    pub plan: NumberPlan,
    /// How it wants the number called.
    pub called: NumberFormat,
    /// How it wants the number of the caller.
    pub caller: NumberFormat,
    /// The number asserted of every caller, where that is not what From shows.
    pub asserted: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn germany() -> NumberPlan {
        NumberPlan { country: "49".into(), national: "0".into(), international: "00".into(), bare: false }
    }

    fn america() -> NumberPlan {
        NumberPlan { country: "1".into(), national: "1".into(), international: "011".into(), bare: false }
    }

    #[test]
    fn visual_separators_are_no_part_of_a_number() {
        assert_eq!(digits("+1-201-555-0123").as_deref(), Some("+12015550123"));
        assert_eq!(digits("(030) 12.34").as_deref(), Some("0301234"));
        assert_eq!((digits("alice"), digits("12+3"), digits("+")), (None, None, None));
    }

    #[test]
    fn what_a_network_dials_is_one_number_in_e164() {
        for dialled in ["+4930123456", "004930123456", "030123456", "4930123456", "+49-30-123456"] {
            assert_eq!(germany().e164(dialled).as_deref(), Some("+4930123456"), "{dialled}");
        }
        assert_eq!(germany().e164("0033123456789").as_deref(), Some("+33123456789"));
        for dialled in ["2015550123", "12015550123", "+12015550123"] {
            assert_eq!(america().e164(dialled).as_deref(), Some("+12015550123"), "{dialled}");
        }
        assert_eq!(america().e164("01133123456789").as_deref(), Some("+33123456789"));
        let denmark = NumberPlan { country: "45".into(), international: "00".into(), ..NumberPlan::default() };
        assert_eq!(denmark.e164("12345678").as_deref(), Some("+4512345678"));
    }

    #[test]
    fn extensions_services_and_names_are_left_alone() {
        for number in ["1001", "110", "alice", "*21#", ""] {
            assert_eq!(germany().e164(number), None, "{number}");
            assert_eq!(germany().write(number, NumberFormat::E164), number);
        }
        let unknown = NumberPlan::default();
        assert_eq!((unknown.e164("030123456"), unknown.e164("+4930123456")), (None, Some("+4930123456".into())));
    }

    #[test]
    fn a_bare_trunk_writes_global_numbers_without_a_sign() {
        let bare = NumberPlan { bare: true, ..germany() };
        assert_eq!(bare.e164("33123456789").as_deref(), Some("+33123456789"));
        assert_eq!(bare.e164("1001"), None);
    }

    #[test]
    fn a_number_is_written_as_the_trunk_wants_it() {
        let write = |number: &str, format| germany().write(number, format);
        assert_eq!(write("030123456", NumberFormat::AsIs), "030123456");
        assert_eq!(write("030123456", NumberFormat::E164), "+4930123456");
        assert_eq!(write("030123456", NumberFormat::E164Bare), "4930123456");
        assert_eq!(write("+4930123456", NumberFormat::National), "030123456");
        assert_eq!(write("+33123456789", NumberFormat::National), "0033123456789");
        assert_eq!(america().write("+12015550123", NumberFormat::National), "12015550123");
    }

    #[test]
    fn a_caller_is_shown_by_a_number_of_the_list_or_by_its_default() {
        let allowed = NumberRules::parse("+49301234[00-99]").expect("rules");
        let policy = CallerIdPolicy::OneOf { allowed, default: "+4930123400".into() };
        let shows = |preferred, own| policy.choose(&germany(), preferred, own).to_owned();
        assert_eq!(shows(Some("030123417"), "1001"), "030123417");
        assert_eq!(shows(Some("+1900555000"), "+4930123420"), "+4930123420");
        assert_eq!(shows(Some("+1900555000"), "1001"), "+4930123400");
        assert_eq!(CallerIdPolicy::Pass.choose(&germany(), Some("+1900555000"), "1001"), "1001");
    }
}
