//! Descriptions as real peers send them, for tests.

/// SIPp 3.6's built-in UAC scenario.
pub const SIPP: &str = "v=0\r\no=user1 53655765 2353687637 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n\
    m=audio 6000 RTP/AVP 0\r\na=rtpmap:0 PCMU/8000\r\n";

/// baresip 1.0, G.711 and Opus.
pub const BARESIP: &str = "v=0\r\no=- 1943212212 4052216171 IN IP4 192.0.2.7\r\ns=-\r\nc=IN IP4 192.0.2.7\r\nt=0 0\r\n\
    a=tool:baresip 1.0.0\r\nm=audio 20378 RTP/AVP 96 8 0 101\r\nb=AS:125\r\na=rtpmap:96 opus/48000/2\r\n\
    a=fmtp:96 stereo=1;sprop-stereo=1\r\na=rtpmap:8 PCMA/8000\r\na=rtpmap:0 PCMU/8000\r\n\
    a=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\na=rtcp:20379\r\na=sendrecv\r\na=label:1\r\n\
    a=rtcp-rsize\r\na=ssrc:2747182281 cname:sip:a@192.0.2.7\r\na=ptime:20\r\n";

/// As Asterisk's chan_pjsip writes one: several unknown codecs, an extra attribute at every corner, maxptime.
pub const ASTERISK: &str = "v=0\r\no=- 1821471911 1821471911 IN IP4 198.51.100.20\r\ns=Asterisk\r\n\
    c=IN IP4 198.51.100.20\r\nt=0 0\r\nm=audio 16522 RTP/AVP 9 8 0 3 101 107\r\na=rtpmap:9 G722/8000\r\n\
    a=rtpmap:8 PCMA/8000\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:3 GSM/8000\r\na=rtpmap:101 telephone-event/8000\r\n\
    a=fmtp:101 0-16\r\na=rtpmap:107 telephone-event/16000\r\na=fmtp:107 0-16\r\na=ptime:20\r\na=maxptime:150\r\n\
    a=sendrecv\r\na=rtcp-mux\r\n";

/// The hold of old phones: an address of zeroes, a static payload type without `rtpmap`.
pub const OLD_HOLD: &str =
    "v=0\no=Phone 5 6 IN IP4 192.0.2.9\ns=SIP Call\nc=IN IP4 0.0.0.0\nt=0 0\nm=audio 4000 RTP/AVP 8 18\n";

/// Chromium with microphone, camera and a data channel, candidates gathered.
pub const CHROMIUM: &str = "v=0\r\no=- 7303429853013432951 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0 1 2\r\n\
    a=extmap-allow-mixed\r\na=msid-semantic: WMS 3c3b\r\n\
    m=audio 50142 UDP/TLS/RTP/SAVPF 111 63 9 0 8 13 110 126\r\nc=IN IP4 192.0.2.33\r\na=rtcp:9 IN IP4 0.0.0.0\r\n\
    a=candidate:3188717374 1 udp 2122260223 192.0.2.33 50142 typ host generation 0 network-id 1\r\n\
    a=candidate:1510613869 1 tcp 1518280447 192.0.2.33 9 typ host tcptype active generation 0 network-id 1\r\n\
    a=ice-ufrag:Zl4M\r\na=ice-pwd:9P2uPsN1xTxKyRxlVFeFHbMg\r\na=ice-options:trickle\r\n\
    a=fingerprint:sha-256 6B:8B:F0:65:5F:78:E2:51:3B:AC:6F:F3:3F:46:1B:35:DC:B8:5F:64:1A:24:C2:43:F0:A1:58:D0:A1:2C:19:08\r\n\
    a=setup:actpass\r\na=mid:0\r\na=extmap:1 urn:ietf:params:rtp-hdrext:ssrc-audio-level\r\n\
    a=extmap:2 http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time\r\n\
    a=extmap:4 urn:ietf:params:rtp-hdrext:sdes:mid\r\na=sendrecv\r\na=msid:3c3b 5f2d\r\na=rtcp-mux\r\na=rtcp-rsize\r\n\
    a=rtpmap:111 opus/48000/2\r\na=rtcp-fb:111 transport-cc\r\na=fmtp:111 minptime=10;useinbandfec=1\r\n\
    a=rtpmap:63 red/48000/2\r\na=fmtp:63 111/111\r\na=rtpmap:9 G722/8000\r\na=rtpmap:0 PCMU/8000\r\n\
    a=rtpmap:8 PCMA/8000\r\na=rtpmap:13 CN/8000\r\na=rtpmap:110 telephone-event/48000\r\n\
    a=rtpmap:126 telephone-event/8000\r\na=ssrc:1510274023 cname:QkC2Cg\r\na=ssrc:1510274023 msid:3c3b 5f2d\r\n\
    m=video 9 UDP/TLS/RTP/SAVPF 96 97\r\nc=IN IP4 0.0.0.0\r\na=ice-ufrag:Zl4M\r\na=ice-pwd:9P2uPsN1xTxKyRxlVFeFHbMg\r\n\
    a=fingerprint:sha-256 6B:8B:F0:65:5F:78:E2:51:3B:AC:6F:F3:3F:46:1B:35:DC:B8:5F:64:1A:24:C2:43:F0:A1:58:D0:A1:2C:19:08\r\n\
    a=setup:actpass\r\na=mid:1\r\na=sendrecv\r\na=rtcp-mux\r\na=rtpmap:96 VP8/90000\r\na=rtpmap:97 rtx/90000\r\n\
    a=fmtp:97 apt=96\r\n\
    m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\nc=IN IP4 0.0.0.0\r\na=mid:2\r\na=sctp-port:5000\r\n";

/// aiortc-like: ICE and DTLS attributes at session level, other letter cases.
pub const SESSION_LEVEL: &str = "v=0\r\no=- word 1 IN IP6 ::1\r\ns=-\r\nt=0 0\r\na=ICE-UFRAG:abcd\r\n\
    a=ice-pwd:0123456789012345678901\r\na=setup:ACTIVE\r\na=recvonly\r\n\
    a=fingerprint:SHA-1 00:01\r\n\
    a=fingerprint:SHA-256 6b:8b:f0:65:5f:78:e2:51:3b:ac:6f:f3:3f:46:1b:35:dc:b8:5f:64:1a:24:c2:43:f0:a1:58:d0:a1:2c:19:08\r\n\
    m=audio 9 UDP/TLS/RTP/SAVPF 96\r\nc=IN IP6 2001:db8::7\r\na=rtcp-mux\r\na=rtpmap:96 OPUS/48000/2\r\n";
