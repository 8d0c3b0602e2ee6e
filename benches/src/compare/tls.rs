//! `tls`: what TLS costs. One server of ours speaks both; plain connections and connections over
//! TLS take turns under the same requests.

use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, RootCertStore};

use super::Result;
use super::bars::TLS_CPU_DEPTH_32;
use super::cli::KvArgs;
use super::folder::Folder;
use super::lab::Lab;
use super::load::Load;
use super::pair::Pair;
use super::product::Product;
use super::table::Table;

/// The depth that the bar is about.
const BAR_DEPTH: usize = 32;

/// Runs every depth over both.
pub fn run(lab: &Lab, arguments: &KvArgs) -> Result<Table> {
    let folder = Folder::new()?;
    let config = certificate(&folder)?;
    let path = folder.path().display();
    let added = format!(
        "--set tls.mode=optional --set tls.cert={path}/cert.pem --set tls.key={path}/key.pem"
    );
    let server = lab.start_adding(Product::Isogrid, arguments.load.limit_mib, &added)?;
    let protocol = Product::Isogrid.protocol();
    let connect = |tls| Load::connect_over(tls, server.address, protocol, arguments.connections);
    let (first, second) = (connect(None)?, connect(Some(&config))?);
    let columns = ["load", "plain_cpu_us", "tls_cpu_us", "tls_ratio", "bar", "goal", "verdict"];
    let bar = |depth| (depth == BAR_DEPTH).then_some(TLS_CPU_DEPTH_32);
    Pair { name: "tls", columns, server, first, second, bar }.run(arguments)
}

/// A certificate in the folder, and a client that trusts it.
fn certificate(folder: &Folder) -> Result<Arc<ClientConfig>> {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()])?;
    std::fs::write(folder.path().join("cert.pem"), made.cert.pem())?;
    std::fs::write(folder.path().join("key.pem"), made.signing_key.serialize_pem())?;
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from(made.cert))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider);
    let builder = builder.with_safe_default_protocol_versions()?.with_root_certificates(roots);
    Ok(Arc::new(builder.with_no_client_auth()))
}
