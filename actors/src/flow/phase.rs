//! A script's walk as a pure machine. Each entry of a step has a number, so that whatever belongs to an earlier entry (a clip's
//! end, a timer) is known as such and ignored.

use std::collections::VecDeque;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::script::{Script, Step};
use super::{FlowReport, dial, menu, play};
use crate::model::cause::{Blame, Cause};
use crate::model::ids::MediaId;
use crate::model::media::Digit;

/// What survives a flow.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlowCheckpoint {
    /// The script, as it was when the call came.
    pub script: Script,
    /// The session of the caller, where prompts are played.
    pub media: MediaId,
    /// The step it is at.
    pub step: String,
    /// Numbers the entry of the step.
    pub entry: u64,
    /// Where in the step.
    pub stage: Stage,
    /// Times this menu was left unanswered or answered wrongly.
    pub attempts: u32,
    /// Digits typed while no menu took them, for the menus to come: each once, in order.
    pub ahead: VecDeque<Digit>,
}

/// Digits kept for menus to come; overflow: DROPS the later ones, more than anybody types during a prompt.
const TYPED_AHEAD: usize = 32;

/// Where in a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Not begun.
    Enter,
    /// Its prompt plays.
    Prompt,
    /// A menu: the prompt is over, a digit is awaited.
    Waiting,
    /// A menu: the prompt for a wrong digit plays.
    Invalid,
    /// The call rings somebody, enters a room, or hangs up.
    HandedOver,
}

/// What happens to a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FlowInput {
    /// It begins, or goes on after a crash.
    Begin,
    /// The clip of this number ended, or there is none.
    Played(u64),
    /// A digit.
    Digit(Digit),
    /// The wait of this number is over.
    Timeout(u64),
    /// The dial of this number failed.
    DialFailed(u64),
}

/// What a step leads to, in order.
#[derive(Debug, Clone, PartialEq)]
pub enum FlowEffect {
    /// Play a clip once.
    Play {
        /// Prompt name.
        clip: String,
        /// Comes back.
        token: u64,
    },
    /// Stop the clip.
    StopPlay,
    /// Come back with [`FlowInput::Timeout`].
    Wait {
        /// Comes back.
        token: u64,
        /// After.
        after: Duration,
    },
    /// Tell the call.
    Report(FlowReport),
}

/// Where a step leads.
pub(super) enum Next {
    /// Stay in it.
    Stay,
    /// To this step; `None` hangs up.
    Goto(Option<String>),
}

impl FlowCheckpoint {
    /// A flow about to enter its first step.
    pub fn new(script: Script, media: MediaId) -> Self {
        let step = script.start.clone();
        Self { script, media, step, entry: 0, stage: Stage::Enter, attempts: 0, ahead: VecDeque::new() }
    }

    /// The way on when the flow itself keeps failing at its step: as if nobody answered. `None` hangs up.
    pub fn error_branch(mut self) -> Option<Self> {
        let next = match self.script.steps.get(&self.step)? {
            Step::Play { next, .. } => next.clone(),
            Step::Menu { on_timeout, .. } => on_timeout.clone(),
            Step::Dial { on_fail, .. } => on_fail.clone(),
            Step::Room { .. } | Step::Hangup {} => None,
        }?;
        self.step = next;
        self.stage = Stage::Enter;
        self.attempts = 0;
        Some(self)
    }

    /// Steps the flow.
    pub fn step(mut self, input: FlowInput) -> (Self, Vec<FlowEffect>) {
        let mut out = Vec::new();
        let stale = |token: u64| token != self.entry;
        match input {
            FlowInput::Begin if self.stage == Stage::HandedOver => {
                // The same entry again: the call knows by its number what came of it.
                self.enter_current(&mut out);
                return (self, out);
            }
            FlowInput::Begin => {
                self.entry += 1;
                self.enter_current(&mut out);
                return (self, out);
            }
            FlowInput::Played(token) | FlowInput::Timeout(token) | FlowInput::DialFailed(token) if stale(token) => {
                return (self, out);
            }
            FlowInput::Played(_) | FlowInput::Timeout(_) | FlowInput::DialFailed(_) | FlowInput::Digit(_) => {}
        }
        let next = match self.script.steps.get(&self.step).cloned() {
            Some(Step::Play { next, .. }) => play::input(&mut self, next, input),
            Some(Step::Menu { .. }) => menu::input(&mut self, input, &mut out),
            Some(Step::Dial { on_fail, .. }) => dial::input(on_fail, input),
            Some(Step::Room { .. } | Step::Hangup {}) | None => Next::Stay,
        };
        self.go(next, &mut out);
        (self, out)
    }

    /// Keeps a digit for the next menu.
    pub(super) fn type_ahead(&mut self, digit: Digit) {
        if self.ahead.len() < TYPED_AHEAD {
            self.ahead.push_back(digit);
        }
    }

    fn go(&mut self, next: Next, out: &mut Vec<FlowEffect>) {
        match next {
            Next::Stay => {}
            Next::Goto(Some(step)) => {
                self.step = step;
                self.stage = Stage::Enter;
                self.attempts = 0;
                self.entry += 1;
                self.enter_current(out);
            }
            Next::Goto(None) => self.hang_up(out),
        }
    }

    fn enter_current(&mut self, out: &mut Vec<FlowEffect>) {
        match self.script.steps.get(&self.step).cloned() {
            Some(Step::Play { prompt, .. }) => play::enter(self, prompt, out),
            Some(Step::Menu { .. }) => {
                // Each round takes a digit typed ahead, or plays.
                let next = menu::enter(self, out);
                self.go(next, out);
            }
            Some(Step::Dial { to, timeout_s, .. }) => dial::enter(self, to, timeout_s, out),
            Some(Step::Room { room }) => {
                self.stage = Stage::HandedOver;
                self.ahead.clear();
                out.push(FlowEffect::Report(FlowReport::Room(room)));
            }
            Some(Step::Hangup {}) => self.hang_up(out),
            // A checked script has every step it names; a flow without one cannot go on.
            None => {
                self.stage = Stage::HandedOver;
                let cause = Cause::internal(format!("the flow has no step \"{}\"", self.step));
                out.push(FlowEffect::Report(FlowReport::HangUp(cause)));
            }
        }
    }

    fn hang_up(&mut self, out: &mut Vec<FlowEffect>) {
        self.stage = Stage::HandedOver;
        let cause = Cause::new(200, Some(16), Blame::Success, "the IVR flow ended");
        out.push(FlowEffect::Report(FlowReport::HangUp(cause)));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::flow::script::DialTarget;
    use crate::model::ids::RoomId;

    fn digit(c: char) -> Digit {
        Digit::new(c).expect("a digit")
    }

    fn script() -> Script {
        let target = |text: &str| DialTarget::try_from(text.to_owned()).expect("a target");
        let name = |text: &str| Some(text.to_owned());
        let steps = BTreeMap::from([
            ("greet".to_owned(), Step::Play { prompt: "welcome".into(), next: name("menu") }),
            (
                "menu".to_owned(),
                Step::Menu {
                    prompt: "menu".into(),
                    timeout_s: 5,
                    retries: 1,
                    choices: BTreeMap::from([
                        (digit('1'), "desk".to_owned()),
                        (digit('2'), "lobby".to_owned()),
                        (digit('9'), "menu".to_owned()),
                    ]),
                    invalid_prompt: name("invalid"),
                    on_timeout: name("bye"),
                    on_invalid: None,
                },
            ),
            ("desk".to_owned(), Step::Dial { to: target("subscriber:1001"), timeout_s: Some(7), on_fail: name("bye") }),
            ("lobby".to_owned(), Step::Room { room: RoomId::new("lobby").expect("an id") }),
            ("bye".to_owned(), Step::Hangup {}),
        ]);
        Script { start: "greet".into(), steps }
    }

    fn at_menu() -> (FlowCheckpoint, u64) {
        let (flow, _) = FlowCheckpoint::new(script(), MediaId(1)).step(FlowInput::Begin);
        let entry = flow.entry;
        let (flow, effects) = flow.step(FlowInput::Played(entry));
        assert_eq!(effects, [FlowEffect::Play { clip: "menu".into(), token: 2 }]);
        (flow, 2)
    }

    fn hangs_up(effects: &[FlowEffect]) -> bool {
        effects.iter().any(|effect| matches!(effect, FlowEffect::Report(FlowReport::HangUp(_))))
    }

    fn dials(effects: &[FlowEffect]) -> bool {
        effects.iter().any(|effect| matches!(effect, FlowEffect::Report(FlowReport::Dial { .. })))
    }

    #[test]
    fn a_digit_interrupts_the_prompt_and_chooses() {
        let (flow, _) = at_menu();
        let (flow, effects) = flow.step(FlowInput::Digit(digit('1')));
        assert_eq!(effects.first(), Some(&FlowEffect::StopPlay));
        assert!(dials(&effects));
        assert_eq!(flow.step, "desk");
    }

    #[test]
    fn a_menu_left_alone_is_played_again_and_then_takes_on_timeout() {
        let (flow, entry) = at_menu();
        let (flow, effects) = flow.step(FlowInput::Played(entry));
        assert_eq!(effects, [FlowEffect::Wait { token: entry, after: Duration::from_secs(5) }]);
        let (flow, effects) = flow.step(FlowInput::Timeout(entry));
        assert_eq!(effects, [FlowEffect::Play { clip: "menu".into(), token: entry + 1 }]);
        let (flow, _) = flow.step(FlowInput::Played(entry + 1));
        let (flow, effects) = flow.step(FlowInput::Timeout(entry + 1));
        assert!(hangs_up(&effects));
        assert_eq!(flow.step, "bye");
    }

    #[test]
    fn a_wrong_digit_hears_so_and_after_the_retries_takes_on_invalid() {
        let (flow, entry) = at_menu();
        let (flow, effects) = flow.step(FlowInput::Digit(digit('7')));
        assert_eq!(effects.last(), Some(&FlowEffect::Play { clip: "invalid".into(), token: entry + 1 }));
        let (flow, effects) = flow.step(FlowInput::Played(entry + 1));
        assert_eq!(effects, [FlowEffect::Play { clip: "menu".into(), token: entry + 2 }]);
        let (_, effects) = flow.step(FlowInput::Digit(digit('8')));
        assert!(hangs_up(&effects));
    }

    #[test]
    fn a_digit_typed_during_the_greeting_counts_at_the_menu() {
        let (flow, _) = FlowCheckpoint::new(script(), MediaId(1)).step(FlowInput::Begin);
        let (flow, effects) = flow.step(FlowInput::Digit(digit('1')));
        assert_eq!(effects, []);
        let entry = flow.entry;
        assert!(dials(&flow.step(FlowInput::Played(entry)).1));
    }

    #[test]
    fn digits_typed_ahead_count_once_each_in_order_and_over_a_crash() {
        let (flow, _) = FlowCheckpoint::new(script(), MediaId(1)).step(FlowInput::Begin);
        // 9 is the menu again, which takes the 2.
        let (flow, _) = flow.step(FlowInput::Digit(digit('9')));
        let (flow, _) = flow.step(FlowInput::Digit(digit('2')));
        let (flow, _) = flow.step(FlowInput::Begin);
        let entry = flow.entry;
        let (flow, effects) = flow.step(FlowInput::Played(entry));
        assert_eq!((flow.step.as_str(), flow.ahead.len()), ("lobby", 0));
        assert!(matches!(effects.as_slice(), [FlowEffect::Report(FlowReport::Room(_))]), "no prompt in between");
    }

    #[test]
    fn a_wrong_digit_typed_ahead_hears_so_and_takes_those_behind_it_along() {
        let (mut flow, _) = FlowCheckpoint::new(script(), MediaId(1)).step(FlowInput::Begin);
        for typed in "771".chars() {
            (flow, _) = flow.step(FlowInput::Digit(digit(typed)));
        }
        let entry = flow.entry;
        let (flow, effects) = flow.step(FlowInput::Played(entry));
        assert_eq!(effects, [FlowEffect::Play { clip: "invalid".into(), token: entry + 2 }]);
        assert_eq!((flow.attempts, flow.ahead.len()), (1, 0));
        assert!(dials(&flow.step(FlowInput::Digit(digit('1'))).1), "and what is pressed then counts");
    }

    #[test]
    fn what_is_typed_ahead_of_a_dial_is_not_kept_for_the_menu_behind_it() {
        let mut script = script();
        let on_fail = Some("greet".to_owned());
        if let Some(Step::Dial { on_fail: then, .. }) = script.steps.get_mut("desk") {
            *then = on_fail;
        }
        let (mut flow, _) = FlowCheckpoint::new(script, MediaId(1)).step(FlowInput::Begin);
        for typed in "12".chars() {
            (flow, _) = flow.step(FlowInput::Digit(digit(typed)));
        }
        let entry = flow.entry;
        let (flow, effects) = flow.step(FlowInput::Played(entry));
        assert!(dials(&effects));
        let (flow, _) = flow.step(FlowInput::Digit(digit('2')));
        let entry = flow.entry;
        let (flow, _) = flow.step(FlowInput::DialFailed(entry));
        let entry = flow.entry;
        let (_, effects) = flow.step(FlowInput::Played(entry));
        assert_eq!(effects, [FlowEffect::Play { clip: "menu".into(), token: entry + 1 }]);
    }

    #[test]
    fn a_dial_that_fails_goes_on_once() {
        let (flow, _) = at_menu();
        let (flow, _) = flow.step(FlowInput::Digit(digit('1')));
        let entry = flow.entry;
        let (flow, effects) = flow.step(FlowInput::DialFailed(entry));
        assert!(hangs_up(&effects));
        assert_eq!(flow.step(FlowInput::DialFailed(entry)).1, []);
    }

    #[test]
    fn after_a_crash_the_step_begins_again_and_a_dial_keeps_its_number() {
        let (flow, entry) = at_menu();
        let (_, effects) = flow.clone().step(FlowInput::Begin);
        assert_eq!(effects, [FlowEffect::Play { clip: "menu".into(), token: entry + 1 }]);
        let (flow, first) = flow.step(FlowInput::Digit(digit('1')));
        let (_, again) = flow.step(FlowInput::Begin);
        assert_eq!(first.last(), again.last());
    }

    #[test]
    fn the_error_branch_is_the_steps_own_way_out() {
        let (flow, _) = at_menu();
        assert_eq!(flow.error_branch().map(|flow| flow.step).as_deref(), Some("bye"));
        let (flow, _) = at_menu();
        let (flow, _) = flow.step(FlowInput::Digit(digit('2')));
        assert_eq!(flow.error_branch(), None);
    }

    proptest! {
        #[test]
        fn no_order_of_events_plays_after_it_handed_over(events in prop::collection::vec((0u8..5, 0u64..8, 0u8..16), 0..40)) {
            let (mut flow, _) = FlowCheckpoint::new(script(), MediaId(1)).step(FlowInput::Begin);
            for (kind, token, code) in events {
                let token = (flow.entry + 1).saturating_sub(token % 3);
                let input = match kind {
                    0 => FlowInput::Played(token),
                    1 => FlowInput::Timeout(token),
                    2 => FlowInput::DialFailed(token),
                    _ => FlowInput::Digit(Digit::from_event(code).expect("a digit")),
                };
                let over = matches!(flow.script.steps.get(&flow.step), Some(Step::Hangup {} | Step::Room { .. }))
                    || (flow.stage == Stage::HandedOver && flow.step == "menu");
                let (after, effects) = flow.step(input);
                if over {
                    prop_assert_eq!(effects, Vec::new());
                }
                prop_assert!(after.attempts <= 2);
                flow = after;
            }
        }
    }
}
