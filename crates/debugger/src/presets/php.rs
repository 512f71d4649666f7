//! Xdebug.

use p2pdbg_inspect::Protocol;
use p2pdbg_proto::tunnel::Direction::ToIde;

use crate::{
    ide::{
        Field::Kept,
        HOST, Ides,
        Value::{HereByThere, Port},
        VsCode,
    },
    row::{Debugger, FirstWord, Presence, WhileAbsent, trap},
};

pub(super) const XDEBUG: Debugger = Debugger {
    name: "xdebug",
    also_called: &["php", "phpstorm", "dbgp", "laravel", "symfony"],
    direction: ToIde,
    port: 9003,
    start: "php -d xdebug.mode=debug -d xdebug.start_with_request=yes -d xdebug.client_host=127.0.0.1 -d xdebug.client_port=PORT app.php",
    while_absent: WhileAbsent::Refuse {
        why: "each request of a web server tries, and would hang until an IDE listens",
    },
    first_word: FirstWord::Client,
    speaks: &[Protocol::Dbgp],
    is_debugpy: false,
    presence: Presence::Unseen,
    listens: None,
    traps: &[trap(
        "nothing happens",
        "Xdebug 3 dials port 9003 (Xdebug 2: 9000), and only with xdebug.mode=debug",
    )],
    ides: Ides {
        vscode: Ok(VsCode {
            types: &["php"],
            request: "launch",
            fields: &[
                Kept("hostname", HOST),
                Kept("port", Port),
                Kept("pathMappings", HereByThere),
            ],
        }),
        zed: None,
        nvim: None,
        jetbrains: None,
    },
};
