//! The process's one TLS implementation. kube and reqwest both take what is installed here; two of them in one process
//! panic at the first connection.

/// Installs ring, once, first thing in `main`. Calling it again changes nothing.
pub(crate) fn install() {
    // The only failure is that one is installed already.
    let _ = rustls::crypto::ring::default_provider().install_default();
}
