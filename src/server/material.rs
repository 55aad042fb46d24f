//! TLS material: loaded before anything is opened or bound, so that an unusable certificate prevents the start.

use crate::config::Settings;
use crate::sidecar::probe::Probe;
use skyhound_net::tls::{self, Tls, TlsError};
use std::sync::Arc;

/// The one certificate, prepared for each protocol inside TLS, and the probe of the sidecar, which may use TLS as a
/// client.
pub(super) struct TlsMaterial {
    pub(super) http: Option<Arc<Tls>>,
    pub(super) dot: Option<Arc<Tls>>,
    pub(super) probe: Option<Probe>,
}

impl TlsMaterial {
    /// Reads the files of all TLS settings.
    pub(super) fn load(settings: &Settings) -> Result<Self, TlsError> {
        let load = |alpn| settings.tls.clone().map(|files| Tls::load(files, alpn)).transpose();
        let probe = settings.sidecar.as_ref().and_then(|sidecar| sidecar.probe.clone());
        Ok(Self { http: load(tls::HTTP)?, dot: load(tls::DOT)?, probe: probe.map(Probe::new).transpose()? })
    }
}
