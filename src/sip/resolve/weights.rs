//! The weighted random order of RFC 2782: by priority, and among equals each in proportion to its weight. Pure; the dice are
//! handed in.

/// Dice: a number from 0 to `highest`, both included, each as likely.
pub trait Dice {
    /// Throws them.
    fn throw(&mut self, highest: u32) -> u32;
}

impl<F: FnMut(u32) -> u32> Dice for F {
    fn throw(&mut self, highest: u32) -> u32 {
        self(highest)
    }
}

/// Those of the switch.
pub fn random(highest: u32) -> u32 {
    rand::random_range(0..=highest)
}

/// Dice that always fall on the least: the same order every time, heaviest last among equals. For lists, not for load.
pub fn fixed(_: u32) -> u32 {
    0
}

/// Puts things in the order in which they are to be tried; `share` gives each its priority and its weight.
pub fn order<T>(mut things: Vec<T>, share: impl Fn(&T) -> (u16, u16), dice: &mut impl Dice) -> Vec<T> {
    // RFC 2782: those of weight 0 stand first, so that they have a small chance of being drawn. The sort keeps equals in place.
    things.sort_by_key(|thing| (share(thing).0, share(thing).1 != 0));
    let mut ordered = Vec::with_capacity(things.len());
    while let Some(priority) = things.first().map(|first| share(first).0) {
        let equals = things.iter().take_while(|thing| share(thing).0 == priority);
        let sum: u32 = equals.map(|thing| u32::from(share(thing).1)).sum();
        let drawn = dice.throw(sum);
        let mut running = 0;
        let at = things.iter().take_while(|thing| share(thing).0 == priority).position(|thing| {
            running += u32::from(share(thing).1);
            running >= drawn
        });
        // The sum is reached by the last of them at the latest.
        ordered.push(things.remove(at.unwrap_or(0)));
    }
    ordered
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shares() -> impl Strategy<Value = Vec<(u16, u16)>> {
        proptest::collection::vec((0u16..4, prop_oneof![Just(0u16), 0u16..100, Just(u16::MAX)]), 0..12)
    }

    proptest! {
        #[test]
        fn every_record_is_tried_once_and_never_before_one_of_a_lower_priority(things in shares(), seed in any::<u64>()) {
            let mut state = seed;
            let mut dice = move |highest: u32| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                u32::try_from((state >> 33) % (u64::from(highest) + 1)).unwrap_or(highest)
            };
            let ordered = order(things.clone(), |thing| *thing, &mut dice);
            prop_assert!(ordered.is_sorted_by_key(|thing| thing.0));
            let sorted = |mut things: Vec<(u16, u16)>| { things.sort_unstable(); things };
            prop_assert_eq!(sorted(ordered), sorted(things));
        }
    }

    #[test]
    fn the_first_is_drawn_in_proportion_to_its_weight() {
        let mut firsts = [0u32; 3];
        for drawn in 0..=100 {
            let first = order(vec![(0, 10u16), (1, 30), (2, 60)], |thing| (0, thing.1), &mut |_: u32| drawn);
            firsts[first[0].0] += 1;
        }
        // 101 throws, 0 to 100: RFC 2782's own rounding gives the extra one to the first.
        assert_eq!(firsts, [11, 30, 60]);
    }

    #[test]
    fn a_weight_of_0_is_drawn_first_only_by_a_throw_of_0() {
        let things = || vec![("heavy", 100u16), ("none", 0)];
        let first = |drawn: u32| order(things(), |thing| (0, thing.1), &mut |_: u32| drawn)[0].0;
        assert_eq!((first(0), first(1), first(100)), ("none", "heavy", "heavy"));
    }
}
