//! Into how many branches an INVITE may be forked (RFC 5393 §5). A proxy's rule, and a B2BUA that rings every contact of a subscriber is
//! one to it: without the bound, a few contacts that lead back to us make of one INVITE as many as Max-Forwards lets them
//! double. So what came is shared out among what goes, and who is left without a share is not rung.
//!
//! Deliberately not: loops found by our own branch (RFC 5393 §4). A B2BUA's calls have Call-ID, tags and branch of their own, so
//! that nothing in a request that comes back is ours to know again; Max-Forwards ends it (RFC 7332).

/// Of a request that names none (RFC 5393 §5.3.3).
const DEFAULT: u8 = 60;

/// What each of so many branches gets, in their order; fewer than there are where it does not suffice. Empty where nothing may go.
/// `None` for a branch that need not say it: whose request came without a bound and goes nowhere else.
pub(super) fn shares(came: Option<u8>, branches: usize) -> Vec<Option<u8>> {
    if came.is_none() && branches == 1 {
        return vec![None];
    }
    let total = came.unwrap_or(DEFAULT);
    let branches = u8::try_from(branches).unwrap_or(u8::MAX).min(total);
    let (each, more) = (total.checked_div(branches).unwrap_or(0), total.checked_rem(branches).unwrap_or(0));
    (0..branches).map(|branch| Some(each + u8::from(branch < more))).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn rfc_5393_5_3_3_a_request_is_forked_no_wider_than_its_max_breadth() {
        assert_eq!(shares(Some(5), 2), [Some(3), Some(2)]);
        assert_eq!(shares(Some(2), 3), [Some(1), Some(1)], "the third is not rung");
        assert_eq!(shares(Some(7), 1), [Some(7)], "handed on as it came");
        assert_eq!(shares(Some(0), 1), [], "not even one");
        assert_eq!(shares(None, 2), [Some(30), Some(30)]);
        assert_eq!(shares(None, 1), [None]);
    }

    proptest! {
        #[test]
        fn the_shares_add_up_to_what_came_and_none_is_empty(came in any::<u8>(), branches in 1usize..400) {
            let shares = shares(Some(came), branches);
            let sum: u32 = shares.iter().flatten().map(|share| u32::from(*share)).sum();
            prop_assert_eq!(sum, u32::from(came));
            prop_assert!(shares.len() <= branches && shares.iter().all(|share| *share > Some(0)));
        }
    }
}
