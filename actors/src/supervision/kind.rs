//! The kinds of actors in the tree: a label in metrics and logs, a handle for fault injection.

use std::fmt;

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident = $label:literal,)*) => {
        /// A kind of actor.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Kind { $($(#[$doc])* $name,)* }

        impl Kind {
            /// Every kind, top of the tree first.
            pub const ALL: &'static [Kind] = &[$(Kind::$name,)*];

            /// As metrics and logs show it.
            pub fn label(self) -> &'static str {
                match self { $(Kind::$name => $label,)* }
            }
        }
    };
}

kinds! {
    /// The top of the tree.
    Root = "root",
    /// Keeps the MediaWorkers.
    MediaSupervisor = "media_supervisor",
    /// Actor twin of a media thread.
    MediaWorker = "media_worker",
    /// A media thread itself: no actor, but made to die by the same switch.
    MediaThread = "media_thread",
    /// Keeps the RtcControl.
    RtcSupervisor = "rtc_supervisor",
    /// Actor twin of the `rtc-ctl` thread.
    RtcControl = "rtc_control",
    /// Keeps the SipEndpoints and the Registrar.
    SipSupervisor = "sip_supervisor",
    /// Actor twin of one SIP listener.
    SipEndpoint = "sip_endpoint",
    /// Bindings of phones.
    Registrar = "registrar",
    /// Keeps the Trunks.
    TrunkSupervisor = "trunk_supervisor",
    /// One configured trunk.
    Trunk = "trunk",
    /// Keeps the Clients.
    ClientSupervisor = "client_supervisor",
    /// One app user's connection.
    Client = "client",
    /// Keeps the Invitations.
    InvitationSupervisor = "invitation_supervisor",
    /// One invitation.
    Invitation = "invitation",
    /// Keeps the Rooms.
    RoomSupervisor = "room_supervisor",
    /// One room.
    Room = "room",
    /// Keeps the Calls.
    CallSupervisor = "call_supervisor",
    /// One call; supervisor of its legs and flow.
    Call = "call",
    /// A leg whose signalling is SIP.
    SipLeg = "sip_leg",
    /// A leg whose signalling is an app user's connection, its media WebRTC.
    RtcLeg = "rtc_leg",
    /// The IVR script of one call.
    Flow = "flow",
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.label())
    }
}
