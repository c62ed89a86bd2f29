//! The step `play`: a prompt, then on. Digits typed meanwhile wait for the next menu.

use super::phase::{FlowCheckpoint, FlowEffect, FlowInput, Next, Stage};

pub(super) fn enter(flow: &mut FlowCheckpoint, prompt: String, out: &mut Vec<FlowEffect>) {
    flow.stage = Stage::Prompt;
    out.push(FlowEffect::Play { clip: prompt, token: flow.entry });
}

pub(super) fn input(flow: &mut FlowCheckpoint, next: Option<String>, input: FlowInput) -> Next {
    match input {
        FlowInput::Played(_) if flow.stage == Stage::Prompt => Next::Goto(next),
        FlowInput::Digit(digit) => {
            flow.type_ahead(digit);
            Next::Stay
        }
        FlowInput::Played(_) | FlowInput::Begin | FlowInput::Timeout(_) | FlowInput::DialFailed(_) => Next::Stay,
    }
}
