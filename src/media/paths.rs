//! Where the packets of a session on the shared port come from: the few paths its peer nominated last.

use std::net::SocketAddr;

/// Paths of one session: a network or two, each in both IP families. Each takes a place in a table of its thread, and a peer may
/// nominate without end.
pub const PATHS: usize = 4;

/// See the module; the newest first.
#[derive(Debug, Clone, Copy, Default)]
pub struct Paths([Option<SocketAddr>; PATHS]);

impl Paths {
    /// This one was nominated now. Returns the oldest, where it had to make room.
    pub fn nominate(&mut self, path: SocketAddr) -> Option<SocketAddr> {
        let known = self.0.iter().position(|known| *known == Some(path));
        self.0[..=known.unwrap_or(PATHS - 1)].rotate_right(1);
        let place = self.0.first_mut()?;
        let before = place.replace(path);
        before.filter(|before| *before != path)
    }
    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = SocketAddr> {
        self.0.into_iter().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(port: u16) -> SocketAddr {
        SocketAddr::from(([198, 51, 100, 7], port))
    }

    #[test]
    fn the_path_nominated_longest_ago_makes_room() {
        let mut paths = Paths::default();
        for port in [1, 2, 3, 4, 1, 3] {
            assert_eq!(paths.nominate(path(port)), None);
        }
        assert_eq!([5, 6, 7].map(|port| paths.nominate(path(port))), [2, 4, 1].map(|port| Some(path(port))));
        assert_eq!(paths.iter().collect::<Vec<_>>(), [7, 6, 5, 3].map(path));
    }
}
