//! nginx as a reverse proxy before the rendezvous, with the recipe of docs/OPERATING.md.

use std::{
    net::{Ipv4Addr, TcpStream},
    path::Path,
    process::Command,
};

use p2pdbg_identity::{Identity, StateDir};
use tempfile::TempDir;

use super::{Place, Process, Transcript, eventually, skip};

/// What a rendezvous behind it is started with.
pub const BEHIND_IT: [&str; 2] = ["--web", "127.0.0.1:8080"];

const MANUAL: &str = include_str!("../../docs/OPERATING.md");

/// nginx at port 443 of every address.
#[derive(Debug)]
pub struct Nginx {
    process: Process,
    _files: TempDir,
}

impl Nginx {
    /// Whether it is installed; says so if not.
    pub fn is_installed() -> bool {
        let installed = Command::new("nginx").arg("-v").output().is_ok();
        if !installed {
            skip("nginx is not installed");
        }
        installed
    }

    /// Starts it, and waits until it serves.
    #[track_caller]
    pub fn start(place: &Place, transcript: &Transcript) -> Self {
        let files = tempfile::tempdir().unwrap();
        let config = files.path().join("nginx.conf");
        std::fs::write(&config, configuration(files.path())).unwrap();
        let mut command = place.command("nginx");
        command
            .args(["-e", "stderr", "-g", "daemon off;", "-c"])
            .arg(&config);
        command.arg("-p").arg(files.path());
        let process = Process::start("nginx", command, transcript);
        eventually("nginx", || {
            let connected = place.enter(|| TcpStream::connect((Ipv4Addr::LOCALHOST, 443)));
            connected.ok().map(drop)
        });
        Self {
            process,
            _files: files,
        }
    }

    /// Ends it, and with it the connections through it.
    pub fn stop(&mut self) {
        self.process.kill();
    }
}

/// A server with a certificate of its own that knows of a rendezvous what the manual says.
fn configuration(files: &Path) -> String {
    let state = files.join("certificate");
    let certificate = StateDir::open(Some(&state), "nginx").unwrap();
    Identity::load_or_make(&certificate).unwrap();
    let certificate = state.join(p2pdbg_identity::IDENTITY_FILE);
    let certificate = certificate.display();
    let recipe = MANUAL
        .split("```nginx\n")
        .nth(1)
        .and_then(|rest| rest.split("```").next());
    let recipe = recipe.expect("the manual has a recipe");
    let kept = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
    let kept: String = kept
        .map(|what| format!("{what}_temp_path {what};\n"))
        .concat();
    format!(
        "user root;\nmaster_process off;\npid nginx.pid;\nevents {{ worker_connections 256; }}\n\
         http {{\naccess_log off;\n{kept}\
         server {{\nlisten 443 ssl;\nssl_certificate {certificate};\nssl_certificate_key {certificate};\n\
         {recipe}}}\n}}\n"
    )
}
