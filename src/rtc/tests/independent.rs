//! Against an implementation that is not ours: the `webrtc` crate as the browser.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use rtc::media_stream::MediaStreamTrack;
use rtc::peer_connection::configuration::interceptor_registry::configure_rtcp_reports;
use rtc::rtp::Packet;
use rtc::rtp_transceiver::rtp_sender::{
    RTCRtpCodec, RTCRtpCodecParameters, RTCRtpCodingParameters, RTCRtpEncodingParameters, RtpCodecKind,
};
use rtc::shared::marshal::{Marshal, Unmarshal};
use rtc::srtp::context::Context;
use rtc::srtp::protection_profile::ProtectionProfile;
use tokio::sync::mpsc;
use webrtc::media_stream::track_local::TrackLocal;
use webrtc::media_stream::track_local::static_rtp::TrackLocalStaticRTP;
use webrtc::media_stream::track_remote::{TrackRemote, TrackRemoteEvent};
use webrtc::peer_connection::{
    MediaEngine, PeerConnection, PeerConnectionBuilder, PeerConnectionEventHandler, RTCIceGatheringState,
    RTCSessionDescription, Registry, SettingEngineBuilder,
};

use super::*;
use tandem_actors::model::srtp::{MasterKey, SrtpProfile};

struct Handler {
    gathered: mpsc::UnboundedSender<()>,
    received: mpsc::UnboundedSender<Packet>,
}

#[async_trait]
impl PeerConnectionEventHandler for Handler {
    async fn on_ice_gathering_state_change(&self, state: RTCIceGatheringState) {
        if state == RTCIceGatheringState::Complete {
            let _ = self.gathered.send(());
        }
    }
    async fn on_track(&self, track: Arc<dyn TrackRemote>) {
        let received = self.received.clone();
        tokio::spawn(async move {
            while let Some(event) = track.poll().await {
                if let TrackRemoteEvent::OnRtpPacket(packet) = event {
                    let _ = received.send(packet);
                }
            }
        });
    }
}

fn opus() -> RTCRtpCodec {
    RTCRtpCodec {
        mime_type: "audio/opus".into(),
        clock_rate: 48000,
        channels: 2,
        sdp_fmtp_line: "minptime=10;useinbandfec=1".into(),
        rtcp_feedback: vec![],
    }
}

fn context(profile: SrtpProfile, master: &MasterKey) -> Context {
    let provider = rtc::crypto::default_provider().expect("a provider");
    let theirs = match profile {
        SrtpProfile::AeadAes128Gcm => ProtectionProfile::AeadAes128Gcm,
        SrtpProfile::AeadAes256Gcm => ProtectionProfile::AeadAes256Gcm,
        SrtpProfile::AesCm128HmacSha1_80 => ProtectionProfile::Aes128CmHmacSha1_80,
        SrtpProfile::AesCm128HmacSha1_32 => ProtectionProfile::Aes128CmHmacSha1_32,
    };
    let (key, salt) = (&master.key[..profile.key_len()], &master.salt[..profile.salt_len()]);
    Context::new(key, salt, theirs, None, None, provider.crypto()).expect("a context")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sound_of_the_webrtc_crate_opens_with_our_keys_and_ours_with_its() {
    let world = World::new();
    let mut engine = MediaEngine::default();
    engine
        .register_codec(RTCRtpCodecParameters { rtp_codec: opus(), payload_type: 111 }, RtpCodecKind::Audio)
        .expect("a codec");
    let ssrc = 0x1234_5678;
    let coding = RTCRtpCodingParameters { ssrc: Some(ssrc), ..Default::default() };
    let encoding = RTCRtpEncodingParameters { rtp_coding_parameters: coding, codec: opus(), ..Default::default() };
    let track = MediaStreamTrack::new("s".into(), "t".into(), "l".into(), RtpCodecKind::Audio, vec![encoding]);
    let track: Arc<dyn TrackLocal> = Arc::new(TrackLocalStaticRTP::new(track));
    let (gathered, mut has_gathered) = mpsc::unbounded_channel();
    let (received, mut packets) = mpsc::unbounded_channel();
    let settings = SettingEngineBuilder::new()
        .with_include_loopback_candidate(true)
        .with_multicast_dns_mode(rtc::ice::mdns::MulticastDnsMode::Disabled)
        .build();
    let client = PeerConnectionBuilder::new()
        .with_media_engine(engine)
        .with_setting_engine(settings)
        .with_interceptor_registry(configure_rtcp_reports(Registry::new()))
        .with_handler(Arc::new(Handler { gathered, received }))
        .with_runtime(Arc::new(webrtc::runtime::TokioRuntime))
        .with_udp_addrs(vec!["127.0.0.1:0".to_string()])
        .build()
        .await
        .expect("a client");
    client.add_track(track.clone()).await.expect("a sender");
    let offer = client.create_offer(None).await.expect("an offer");
    client.set_local_description(offer).await.expect("it is ours");
    tokio::time::timeout(DEADLINE, has_gathered.recv()).await.expect("candidates in time");
    let offer = client.local_description().await.expect("an offer").sdp;
    let answer = tokio::task::block_in_place(|| world.accept(&offer));
    let answer = RTCSessionDescription::answer(answer).expect("an answer");
    client.set_remote_description(answer).await.expect("they take it");

    let (keys, path) = tokio::task::block_in_place(|| world.secured());
    assert_eq!(tokio::task::block_in_place(|| world.event()), RtcEventKind::Connected);

    // Theirs to us.
    let mut packet = Packet::default();
    packet.header.version = 2;
    packet.header.payload_type = 111;
    packet.header.ssrc = ssrc;
    packet.payload = Bytes::from_static(b"their sound");
    let mut decrypt = context(keys.profile, &keys.receive);
    let mut opened = None;
    for sequence in 1..200 {
        packet.header.sequence_number = sequence;
        packet.header.timestamp += 960;
        track.write_rtp(packet.clone()).await.expect("sent");
        if let Ok(sealed) = world.srtp.recv_timeout(Duration::from_millis(50))
            && sealed.get(1).is_some_and(|second| second & 0x7f == 111)
        {
            opened = Some(decrypt.decrypt_rtp(&sealed).expect("it opens"));
            break;
        }
    }
    let opened = Packet::unmarshal(&mut opened.expect("a packet in time").freeze()).expect("RTP");
    assert_eq!((opened.header.ssrc, &opened.payload[..]), (ssrc, &b"their sound"[..]));

    // Ours to them: an SSRC that no answer named.
    let mut encrypt = context(keys.profile, &keys.send);
    packet.header.ssrc = 0x9abc_def0;
    packet.payload = Bytes::from_static(b"our sound");
    let mut heard = None;
    for sequence in 1..200 {
        packet.header.sequence_number = sequence;
        packet.header.timestamp += 960;
        let sealed = encrypt.encrypt_rtp(&packet.marshal().expect("RTP")).expect("it seals");
        world.shared_port.send_to(&sealed, path).expect("sent");
        if let Ok(packet) = tokio::time::timeout(Duration::from_millis(50), packets.recv()).await {
            heard = packet;
            break;
        }
    }
    let heard = heard.expect("a packet in time");
    assert_eq!((heard.header.ssrc, &heard.payload[..]), (0x9abc_def0, &b"our sound"[..]));
    client.close().await.expect("closed");
}
