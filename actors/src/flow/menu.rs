//! The step `menu`: a prompt and one digit. Unanswered and wrongly answered rounds are counted together; what the last one was
//! says which way it goes on. A digit typed ahead is taken before the prompt; a wrong one takes those behind it along, since
//! whoever typed them was elsewhere.

use std::time::Duration;

use super::phase::{FlowCheckpoint, FlowEffect, FlowInput, Next, Stage};
use super::script::Step;
use crate::model::media::Digit;

pub(super) fn enter(flow: &mut FlowCheckpoint, out: &mut Vec<FlowEffect>) -> Next {
    if let Some(digit) = flow.ahead.pop_front() {
        return chosen(flow, digit, out);
    }
    let Some(Step::Menu { prompt, .. }) = flow.script.steps.get(&flow.step) else { return Next::Stay };
    let clip = prompt.clone();
    flow.stage = Stage::Prompt;
    out.push(FlowEffect::Play { clip, token: flow.entry });
    Next::Stay
}

pub(super) fn input(flow: &mut FlowCheckpoint, input: FlowInput, out: &mut Vec<FlowEffect>) -> Next {
    let Some(Step::Menu { timeout_s, .. }) = flow.script.steps.get(&flow.step) else { return Next::Stay };
    let timeout = Duration::from_secs(*timeout_s);
    match (input, flow.stage) {
        (FlowInput::Digit(digit), Stage::Prompt | Stage::Waiting | Stage::Invalid) => chosen(flow, digit, out),
        (FlowInput::Played(_), Stage::Prompt) => {
            flow.stage = Stage::Waiting;
            out.push(FlowEffect::Wait { token: flow.entry, after: timeout });
            Next::Stay
        }
        (FlowInput::Played(_), Stage::Invalid) => {
            flow.entry += 1;
            enter(flow, out)
        }
        (FlowInput::Timeout(_), Stage::Waiting) => unanswered(flow, out),
        (
            FlowInput::Begin
            | FlowInput::Played(_)
            | FlowInput::Digit(_)
            | FlowInput::Timeout(_)
            | FlowInput::DialFailed(_),
            _,
        ) => Next::Stay,
    }
}

fn chosen(flow: &mut FlowCheckpoint, digit: Digit, out: &mut Vec<FlowEffect>) -> Next {
    let Some(Step::Menu { choices, retries, invalid_prompt, on_invalid, .. }) = flow.script.steps.get(&flow.step)
    else {
        return Next::Stay;
    };
    if let Stage::Prompt | Stage::Invalid = flow.stage {
        out.push(FlowEffect::StopPlay);
    }
    if let Some(step) = choices.get(&digit) {
        return Next::Goto(Some(step.clone()));
    }
    let (retries, invalid, otherwise) = (*retries, invalid_prompt.clone(), on_invalid.clone());
    flow.ahead.clear();
    flow.attempts += 1;
    if flow.attempts > retries {
        return Next::Goto(otherwise);
    }
    flow.entry += 1;
    match invalid {
        Some(clip) => {
            flow.stage = Stage::Invalid;
            out.push(FlowEffect::Play { clip, token: flow.entry });
            Next::Stay
        }
        None => enter(flow, out),
    }
}

fn unanswered(flow: &mut FlowCheckpoint, out: &mut Vec<FlowEffect>) -> Next {
    let Some(Step::Menu { retries, on_timeout, .. }) = flow.script.steps.get(&flow.step) else { return Next::Stay };
    let (retries, otherwise) = (*retries, on_timeout.clone());
    flow.attempts += 1;
    if flow.attempts > retries {
        return Next::Goto(otherwise);
    }
    flow.entry += 1;
    enter(flow, out)
}
