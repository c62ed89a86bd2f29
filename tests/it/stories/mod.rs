//! One file a theme; a story is named for what the caller sees.

mod abuse;
mod bad_input;
mod dialogs;
mod early;
mod faults;
mod identity;
mod ivr;
mod load;
mod many;
mod neighbours;
mod registrar;
mod rooms;
mod rtc_to_sip;
mod security;
mod sight;
mod sim_gateway;
mod sip_browsers;
mod sip_soak;
mod sip_to_rtc;
mod soak;
mod surroundings;
mod targets;
mod transfer;
mod transports;
mod trunk;
mod web_phone;
