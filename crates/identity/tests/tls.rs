//! Who is accepted at the other end of a connection: whole handshakes, in memory.

use std::{io::Cursor, sync::Arc};

use p2pdbg_identity::{Identity, tls};
use p2pdbg_proto::fingerprint::Fingerprint;
use rustls::{
    AlertDescription, CertificateError, CipherSuite, ClientConfig, ClientConnection, Connection,
    Error, NamedGroup, ProtocolVersion, ServerConfig, ServerConnection,
    client::ResolvesClientCert,
    crypto::{CryptoProvider, aws_lc_rs::sign::any_supported_type},
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
    version::TLS13,
};

/// The result of a handshake at the client and at the server.
struct Handshake {
    client: Result<ClientConnection, Error>,
    server: Result<ServerConnection, Error>,
}

impl Handshake {
    fn succeeded(self) -> (ClientConnection, ServerConnection) {
        let client = self.client.expect("the client accepts");
        (client, self.server.expect("the server accepts"))
    }
}

fn handshake(client: ClientConfig, server: ServerConfig) -> Handshake {
    let name = tls::SERVER_NAME.try_into().unwrap();
    let client = ClientConnection::new(Arc::new(client), name).unwrap();
    let server = ServerConnection::new(Arc::new(server)).unwrap();
    let (mut client, mut server) = (Connection::from(client), Connection::from(server));
    let (mut client_error, mut server_error) = (None, None);
    // A full handshake takes three flights; alerts take one more.
    for _ in 0..5 {
        pass(&mut client, &mut server, &mut server_error);
        pass(&mut server, &mut client, &mut client_error);
    }
    let client = match (client_error, client) {
        (None, Connection::Client(client)) if !client.is_handshaking() => Ok(client),
        (error, _) => Err(error.unwrap_or(Error::HandshakeNotComplete)),
    };
    let server = match (server_error, server) {
        (None, Connection::Server(server)) if !server.is_handshaking() => Ok(server),
        (error, _) => Err(error.unwrap_or(Error::HandshakeNotComplete)),
    };
    Handshake { client, server }
}

fn pass(from: &mut Connection, to: &mut Connection, error: &mut Option<Error>) {
    let mut flight = Vec::new();
    while from.wants_write() {
        from.write_tls(&mut flight).unwrap();
    }
    let mut flight = Cursor::new(flight);
    while error.is_none() && flight.position() < flight.get_ref().len() as u64 {
        to.read_tls(&mut flight).unwrap();
        *error = to.process_new_packets().err();
    }
}

fn identities() -> (Identity, Identity) {
    (
        Identity::ephemeral().unwrap(),
        Identity::ephemeral().unwrap(),
    )
}

fn tunnel(connector: (&Identity, Fingerprint), listener: (&Identity, Fingerprint)) -> Handshake {
    handshake(
        tls::tunnel_client(connector.0, connector.1).unwrap(),
        tls::tunnel_server(listener.0, listener.1).unwrap(),
    )
}

/// Shows one identity's certificate and signs with another's key, as somebody who copied a certificate would.
#[derive(Debug)]
struct Impostor(Arc<CertifiedKey>);

impl Impostor {
    fn new(shown: &Identity, own: &Identity) -> Arc<Self> {
        let key = any_supported_type(&own.key()).unwrap();
        Arc::new(Self(Arc::new(CertifiedKey::new(shown.chain(), key))))
    }
}

impl ResolvesServerCert for Impostor {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.clone())
    }
}

impl ResolvesClientCert for Impostor {
    fn resolve(
        &self,
        _hints: &[&[u8]],
        _schemes: &[rustls::SignatureScheme],
    ) -> Option<Arc<CertifiedKey>> {
        Some(self.0.clone())
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// The certificate is another one than the pinned.
fn not_pinned() -> Error {
    Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure)
}

fn bad_signature() -> Error {
    Error::InvalidCertificate(CertificateError::BadSignature)
}

#[test]
fn peers_that_pin_each_other_get_a_hybrid_tls_1_3_tunnel() {
    let (a, b) = identities();
    let (client, server) = tunnel((&a, b.fingerprint()), (&b, a.fingerprint())).succeeded();
    assert_eq!(client.protocol_version(), Some(ProtocolVersion::TLSv1_3));
    let group = server.negotiated_key_exchange_group().unwrap();
    assert_eq!(group.name(), NamedGroup::X25519MLKEM768);
    assert_eq!(client.alpn_protocol(), Some(p2pdbg_proto::tunnel::ALPN));
    assert_eq!(client.tls13_tickets_received(), 0);
    assert_eq!(client.peer_certificates().unwrap(), b.chain());
    assert_eq!(server.peer_certificates().unwrap(), a.chain());
}

#[test]
fn a_listener_that_is_not_the_pinned_one_is_refused_and_both_ends_can_tell() {
    let ((a, b), impostor) = (identities(), Identity::ephemeral().unwrap());
    let result = tunnel((&a, b.fingerprint()), (&impostor, a.fingerprint()));
    assert_eq!(result.client.unwrap_err(), not_pinned());
    let told = Error::AlertReceived(AlertDescription::AccessDenied);
    assert_eq!(result.server.unwrap_err(), told);
    let alert = u8::from(AlertDescription::AccessDenied);
    assert_eq!(tls::PIN_MISMATCH_CODE, 0x100 + u64::from(alert));
}

#[test]
fn a_connector_that_is_not_the_pinned_one_is_refused() {
    let ((a, b), impostor) = (identities(), Identity::ephemeral().unwrap());
    let result = tunnel((&impostor, b.fingerprint()), (&b, a.fingerprint()));
    assert_eq!(result.server.unwrap_err(), not_pinned());
}

#[test]
fn a_connector_without_a_certificate_is_refused() {
    let (a, b) = identities();
    let mut client = tls::control_client(Some(b.fingerprint())).unwrap();
    client.alpn_protocols = vec![p2pdbg_proto::tunnel::ALPN.to_vec()];
    let server = tls::tunnel_server(&b, a.fingerprint()).unwrap();
    let result = handshake(client, server);
    assert_eq!(result.server.unwrap_err(), Error::NoCertificatesPresented);
}

#[test]
fn a_listener_with_the_pinned_certificate_but_another_key_is_refused() {
    let ((a, b), impostor) = (identities(), Identity::ephemeral().unwrap());
    let client = tls::tunnel_client(&a, b.fingerprint()).unwrap();
    let mut server = tls::tunnel_server(&impostor, a.fingerprint()).unwrap();
    server.cert_resolver = Impostor::new(&b, &impostor);
    let error = handshake(client, server).client.unwrap_err();
    assert_eq!(error, bad_signature());
}

#[test]
fn a_connector_with_the_pinned_certificate_but_another_key_is_refused() {
    let ((a, b), impostor) = (identities(), Identity::ephemeral().unwrap());
    let mut client = tls::tunnel_client(&impostor, b.fingerprint()).unwrap();
    client.client_auth_cert_resolver = Impostor::new(&a, &impostor);
    let server = tls::tunnel_server(&b, a.fingerprint()).unwrap();
    let error = handshake(client, server).server.unwrap_err();
    assert_eq!(error, bad_signature());
}

#[test]
fn a_peer_reaches_the_rendezvous_that_it_pins_and_no_other() {
    let (rendezvous, other) = identities();
    let connect = |pinned| {
        handshake(
            tls::control_client(Some(pinned)).unwrap(),
            tls::control_server(&rendezvous).unwrap(),
        )
    };
    let (client, server) = connect(rendezvous.fingerprint()).succeeded();
    assert_eq!(client.alpn_protocol(), Some(p2pdbg_proto::rendezvous::ALPN));
    assert_eq!(server.peer_certificates(), None);
    let error = connect(other.fingerprint()).client.unwrap_err();
    assert_eq!(error, not_pinned());
}

#[test]
fn a_rendezvous_without_a_pin_must_be_certified_by_the_system() {
    let rendezvous = Identity::ephemeral().unwrap();
    // A host without any roots cannot verify anything, and says so when the configuration is made.
    let Ok(client) = tls::control_client(None) else {
        return;
    };
    let server = tls::control_server(&rendezvous).unwrap();
    let error = handshake(client, server).client.unwrap_err();
    assert!(matches!(error, Error::InvalidCertificate(_)), "{error}");
    assert_ne!(error, not_pinned());
}

#[test]
fn a_servers_keying_material_is_known_before_the_client_and_the_same_as_later() {
    let (a, b) = identities();
    for suite in [
        CipherSuite::TLS13_AES_128_GCM_SHA256,
        CipherSuite::TLS13_AES_256_GCM_SHA384,
    ] {
        let mut client = tls::tunnel_client(&a, b.fingerprint()).unwrap();
        let mut provider = (*tls::provider()).clone();
        provider.cipher_suites.retain(|s| s.suite() == suite);
        client = with_provider(provider, client, b.fingerprint(), &a);
        let (tell, told) = std::sync::mpsc::channel();
        let tell = move |exported| tell.send(exported).unwrap();
        let server = tls::tunnel_server_early(&b, a.fingerprint(), tell).unwrap();

        let name = tls::SERVER_NAME.try_into().unwrap();
        let client = ClientConnection::new(Arc::new(client), name).unwrap();
        let server = ServerConnection::new(Arc::new(server)).unwrap();
        let (mut client, mut server) = (Connection::from(client), Connection::from(server));
        pass(&mut client, &mut server, &mut None);
        let early: [u8; 32] = told.try_recv().expect("one flight of the client is enough");
        assert!(server.is_handshaking());
        pass(&mut server, &mut client, &mut None);
        pass(&mut client, &mut server, &mut None);
        assert_eq!(client.negotiated_cipher_suite().unwrap().suite(), suite);
        for end in [&client, &server] {
            let exported = export(end);
            assert_eq!(exported, early);
        }
    }
}

fn export(end: &Connection) -> [u8; 32] {
    let (label, context) = (p2pdbg_proto::tunnel::EXPORTER_LABEL, Some(&b""[..]));
    let exported = [0; 32];
    match end {
        Connection::Client(c) => c.export_keying_material(exported, label, context),
        Connection::Server(s) => s.export_keying_material(exported, label, context),
    }
    .unwrap()
}

/// The same client with other cryptography.
fn with_provider(
    provider: CryptoProvider,
    like: ClientConfig,
    server: Fingerprint,
    identity: &Identity,
) -> ClientConfig {
    let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(tls::pinned_server_verifier(server))
        .with_client_auth_cert(identity.chain(), identity.key())
        .unwrap();
    config.alpn_protocols = like.alpn_protocols;
    config
}

#[test]
fn a_tunnel_is_not_a_control_connection() {
    let (a, b) = identities();
    let client = tls::tunnel_client(&a, b.fingerprint()).unwrap();
    let server = tls::control_server(&b).unwrap();
    let result = handshake(client, server);
    assert_eq!(result.server.unwrap_err(), Error::NoApplicationProtocol);
}
