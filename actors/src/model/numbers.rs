//! Number rules, as the operator writes them: `1016;1017;20[01-05]`. A rule names numbers that are ours to ring; two rules never
//! name the same one, so that a number leads to one place.

use super::settings::{NumberRule, NumberRules};

/// Digits a range bound may have: more would not fit the arithmetic, and no dial plan has them.
const MAX_DIGITS: usize = 18;

/// What is wrong with a list of number rules.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NumberRulesError {
    /// Neither a number nor `prefix[from-to]`.
    #[error("\"{0}\" is neither a number nor prefix[from-to]")]
    Malformed(String),
    /// The range is empty, backwards, or has too many digits.
    #[error("\"{0}\": write [from-to] with from < to and at most {MAX_DIGITS} digits")]
    Range(String),
    /// Two rules name one number.
    #[error("\"{first}\" and \"{second}\" name the same numbers")]
    Overlap {
        /// The earlier rule.
        first: String,
        /// The later rule.
        second: String,
    },
}

impl NumberRules {
    /// Reads `1016;1017;20[01-05]`; empty items are skipped, blanks around an item too.
    ///
    /// # Errors
    /// [`NumberRulesError`] names the item.
    pub fn parse(text: &str) -> Result<Self, NumberRulesError> {
        let items: Vec<&str> = text.split(';').map(str::trim).filter(|item| !item.is_empty()).collect();
        let rules = items.iter().map(|item| parse_rule(item)).collect::<Result<Vec<_>, _>>()?;
        for (n, second) in rules.iter().enumerate() {
            if let Some(first) = rules.iter().take(n).find(|first| overlap(first, second)) {
                return Err(NumberRulesError::Overlap { first: first.to_string(), second: second.to_string() });
            }
        }
        Ok(Self(rules))
    }

    /// Whether a rule names this number.
    pub fn contains(&self, number: &str) -> bool {
        self.0.iter().any(|rule| match rule {
            NumberRule::One(one) => one == number,
            NumberRule::Range { prefix, from, to, width } => number
                .strip_prefix(prefix.as_str())
                .is_some_and(|rest| canonical(rest, *width).is_some_and(|n| (*from..=*to).contains(&n))),
        })
    }
}

impl std::fmt::Display for NumberRule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            NumberRule::One(number) => f.write_str(number),
            NumberRule::Range { prefix, from, to, width } => write!(f, "{prefix}[{from:0width$}-{to:0width$}]"),
        }
    }
}

/// The number that a range's digits write: padded with zeroes to `width`, and not further.
fn canonical(digits: &str, width: usize) -> Option<u64> {
    let padded = digits.len() == width || (digits.len() > width && !digits.starts_with('0'));
    let plain = digits.len() <= MAX_DIGITS && digits.bytes().all(|b| b.is_ascii_digit());
    if padded && plain { digits.parse().ok() } else { None }
}

fn parse_rule(item: &str) -> Result<NumberRule, NumberRulesError> {
    let malformed = || NumberRulesError::Malformed(item.into());
    let dialable = |text: &str| {
        let digits = text.strip_prefix('+').unwrap_or(text);
        digits.bytes().all(|b| b.is_ascii_digit() || b == b'*' || b == b'#')
    };
    let Some((prefix, range)) = item.split_once('[') else {
        return if dialable(item) && item != "+" { Ok(NumberRule::One(item.into())) } else { Err(malformed()) };
    };
    let (from, to) = range.strip_suffix(']').and_then(|range| range.split_once('-')).ok_or_else(malformed)?;
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if !dialable(prefix) || !digits(from) || !digits(to) {
        return Err(malformed());
    }
    let bad = || NumberRulesError::Range(item.into());
    if from.len() > MAX_DIGITS || to.len() > MAX_DIGITS {
        return Err(bad());
    }
    let width = from.len();
    let (from, to): (u64, u64) = (from.parse().map_err(|_| bad())?, to.parse().map_err(|_| bad())?);
    if from >= to {
        return Err(bad());
    }
    Ok(NumberRule::Range { prefix: prefix.into(), from, to, width })
}

/// Whether two rules name a number in common.
fn overlap(a: &NumberRule, b: &NumberRule) -> bool {
    match (a, b) {
        (NumberRule::One(number), rule) | (rule, NumberRule::One(number)) => {
            NumberRules(vec![rule.clone()]).contains(number)
        }
        (
            NumberRule::Range { prefix: p, from: f, to: t, width: w },
            NumberRule::Range { prefix: q, from: g, to: u, width: v },
        ) => match (q.strip_prefix(p.as_str()), p.strip_prefix(q.as_str())) {
            (Some(between), _) => ranges_overlap((*f, *t, *w), between, (*g, *u, *v)),
            (None, Some(between)) => ranges_overlap((*g, *u, *v), between, (*f, *t, *w)),
            (None, None) => false,
        },
    }
}

/// Whether `outer` names a number that is `between` followed by one of `inner`. Looks at each length `inner`'s digits may
/// have, since a length fixes the place value of `between`: no range is ever expanded.
fn ranges_overlap(outer: (u64, u64, usize), between: &str, inner: (u64, u64, usize)) -> bool {
    if !between.bytes().all(|b| b.is_ascii_digit()) {
        return false;
    }
    let (from, to, width) = inner;
    (width..=MAX_DIGITS).any(|length| {
        let power = |n: usize| 10u128.pow(n as u32);
        let shortest = if length == width { 0 } else { power(length - 1) };
        let (low, high) = (u128::from(from).max(shortest), u128::from(to).min(power(length) - 1));
        let total = between.len() + length;
        if low > high || total < outer.2 || total > MAX_DIGITS {
            return false;
        }
        let ahead = if between.is_empty() { 0 } else { between.parse::<u128>().unwrap_or(0) * power(length) };
        let (low, high) = (ahead + low, ahead + high);
        // Of numbers longer than the outer width only those without a leading zero are written that way.
        let low = if total > outer.2 { low.max(power(total - 1)) } else { low };
        low.max(u128::from(outer.0)) <= high.min(u128::from(outer.1))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rules(text: &str) -> NumberRules {
        NumberRules::parse(text).expect("rules")
    }

    #[test]
    fn a_range_is_padded_to_the_width_of_its_first_number() {
        let rules = rules("1016;1017;20[01-05]");
        assert!(rules.contains("1016") && rules.contains("2001") && rules.contains("2005"));
        assert!(
            !rules.contains("2006") && !rules.contains("201") && !rules.contains("20001") && !rules.contains("1018")
        );
    }

    #[test]
    fn a_range_may_outgrow_its_width() {
        let rules = NumberRules::parse("7[8-11]").expect("rules");
        assert!(rules.contains("78") && rules.contains("710") && rules.contains("711") && !rules.contains("708"));
    }

    #[test]
    fn mistakes_name_the_item() {
        assert_eq!(NumberRules::parse("10;x1"), Err(NumberRulesError::Malformed("x1".into())));
        assert_eq!(NumberRules::parse("20[05-01]"), Err(NumberRulesError::Range("20[05-01]".into())));
        assert_eq!(NumberRules::parse("20[01-"), Err(NumberRulesError::Malformed("20[01-".into())));
        let overlap = NumberRules::parse("20[01-05];2[003-009]").expect_err("an overlap");
        assert_eq!(overlap.to_string(), "\"20[01-05]\" and \"2[003-009]\" name the same numbers");
        assert!(NumberRules::parse("20[01-05];2003").is_err());
        assert!(NumberRules::parse("20[01-05];20[06-09]").is_ok());
    }

    proptest! {
        #[test]
        fn rules_that_share_a_number_are_refused_and_no_others(
            p in "[0-9]{0,2}", q in "[0-9]{0,2}", a in 0u64..60, n in 1u64..60, b in 0u64..60, m in 1u64..60,
            w in 1usize..4, v in 1usize..4,
        ) {
            let range = |prefix: &str, from: u64, n: u64, width: usize| {
                let width = from.to_string().len().max(width);
                NumberRule::Range { prefix: prefix.into(), from, to: from + n, width }
            };
            let (first, second) = (range(&p, a, n, w), range(&q, b, m, v));
            let expand = |rule: &NumberRule| match rule {
                NumberRule::One(one) => vec![one.clone()],
                NumberRule::Range { prefix, from, to, width } =>
                    (*from..=*to).map(|k| format!("{prefix}{k:0width$}")).collect(),
            };
            let (one, two) = (NumberRules(vec![first.clone()]), NumberRules(vec![second.clone()]));
            for number in expand(&first) {
                prop_assert!(one.contains(&number));
            }
            let shared = expand(&second).iter().any(|number| one.contains(number));
            prop_assert_eq!(overlap(&first, &second), shared);
            prop_assert_eq!(overlap(&second, &first), expand(&first).iter().any(|number| two.contains(number)));
            let text = format!("{first};{second}");
            prop_assert_eq!(NumberRules::parse(&text).is_ok(), !shared);
        }

        #[test]
        fn any_text_is_read_or_refused(text in "[0-9+*#;\\[\\]x -]{0,40}") {
            let _ = NumberRules::parse(&text);
        }
    }
}
