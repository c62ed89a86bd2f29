//! The step `dial`: the call rings somebody. An answer ends the flow; anything else brings it on. What was typed ahead, and is
//! typed meanwhile, is forgotten.

use std::time::Duration;

use super::FlowReport;
use super::phase::{FlowCheckpoint, FlowEffect, FlowInput, Next, Stage};
use super::script::DialTarget;

pub(super) fn enter(flow: &mut FlowCheckpoint, to: DialTarget, timeout_s: Option<u64>, out: &mut Vec<FlowEffect>) {
    flow.stage = Stage::HandedOver;
    flow.ahead.clear();
    let timeout = timeout_s.map(Duration::from_secs);
    out.push(FlowEffect::Report(FlowReport::Dial { token: flow.entry, target: to.0, timeout }));
}

pub(super) fn input(on_fail: Option<String>, input: FlowInput) -> Next {
    match input {
        FlowInput::DialFailed(_) => Next::Goto(on_fail),
        FlowInput::Begin | FlowInput::Played(_) | FlowInput::Digit(_) | FlowInput::Timeout(_) => Next::Stay,
    }
}
