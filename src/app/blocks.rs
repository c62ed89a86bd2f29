//! SIP's blocks, as the REST API asks for them.

use std::net::IpAddr;
use std::sync::Arc;

use tokio::time::Instant;

use crate::http::deps::{Block, Blocks};
use crate::sip::nuisance::blocks;

/// The gate's table behind the API's trait.
pub(super) struct SipBlocks(pub Arc<blocks::Blocks>);

impl Blocks for SipBlocks {
    fn list(&self) -> Vec<Block> {
        let blocks = self.0.list(Instant::now()).into_iter();
        let shown = |blocks::Block { source, reason, left, times }| Block {
            source: source.to_string(),
            reason: reason.word(),
            left,
            times,
        };
        blocks.map(shown).collect()
    }
    fn lift(&self, address: IpAddr) -> bool {
        self.0.lift(address)
    }
}
