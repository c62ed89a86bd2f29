//! An app built on the SDK, without a page of its own: it may be in several calls at once and hold none of them, which the web
//! phone would.

use super::browser::{Browser, Page};
use crate::rig::Rig;

/// A logged-in app.
pub struct SdkApp<'a> {
    page: Page<'a>,
}

impl<'a> SdkApp<'a> {
    /// Opens a page that has the SDK, and logs in.
    #[track_caller]
    pub fn open(browser: &'a Browser, rig: &Rig, user: &str, hz: f64) -> Self {
        let page = browser.open(user, &format!("http://{}/phone/", rig.http()), hz);
        page.wait("window.tandem !== undefined");
        page.eval(
            "window.callOf = (peer) => [...app.calls.values()].find((call) => call.peer === peer);
             // The loudest tone that came last, Hz.
             window.pitch = (call) => {
               if (!call.ear) {
                 window.ears ??= new AudioContext({ sampleRate: 16000 });
                 call.ear = ears.createAnalyser();
                 call.ear.fftSize = 4096;
                 call.ear.smoothingTimeConstant = 0;
                 ears.createMediaStreamSource(call.remoteStream).connect(call.ear);
               }
               const bins = new Float32Array(call.ear.frequencyBinCount);
               call.ear.getFloatFrequencyData(bins);
               const loudest = bins.indexOf(Math.max(...bins));
               return bins[loudest] > -60 ? (loudest * ears.sampleRate) / call.ear.fftSize : 0;
             }, null",
        );
        let token = rig.token(user);
        page.eval(&format!("window.app = new tandem.TandemClient({{ token: '{token}' }}), app.connect()"));
        Self { page }
    }

    /// Calls a number.
    #[track_caller]
    pub fn call(&self, number: &str) {
        self.page.eval(&format!("app.call('{number}').then(() => null)"));
    }
    /// Waits for the ring of this caller and accepts it.
    #[track_caller]
    pub fn accept(&self, caller: &str) {
        let ring = format!("[...app.incoming.values()].find(({{ caller }}) => caller === '{caller}')");
        self.page.wait(&format!("{ring} !== undefined"));
        self.page.eval(&format!("{ring}.accept().then(() => null)"));
    }
    /// Waits until it talks with this peer, and hears this tone.
    #[track_caller]
    pub fn hears(&self, peer: &str, hz: f64) {
        let call = format!("callOf('{peer}')");
        self.page.wait(&format!("{call}?.state === 'talking' && Math.abs(pitch({call}) - {hz}) < 10"));
    }
    /// Hangs up one call.
    #[track_caller]
    pub fn hang_up(&self, peer: &str) {
        self.page.eval(&format!("callOf('{peer}').hangup()"));
    }
    /// Waits until there is no call with this peer.
    #[track_caller]
    pub fn ended(&self, peer: &str) {
        self.page.wait(&format!("callOf('{peer}') === undefined"));
    }
}
