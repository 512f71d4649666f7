//! What is learnt of conversations as debuggers have them.

use std::time::{Duration, Instant};

use p2pdbg_inspect::{Activity, Advice, Context, End, Inspector, Location, Mapping, Protocol};

const RTT: Duration = Duration::from_millis(40);

/// A conversation whose every turn takes a round trip.
struct Talk {
    inspector: Inspector,
    now: Instant,
}

impl Talk {
    fn new() -> Self {
        Self::with(Context::default())
    }

    fn with(context: Context) -> Self {
        Self {
            inspector: Inspector::new(context),
            now: Instant::now(),
        }
    }

    fn ide(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        self.inspector.handle(self.now, End::Ide, bytes.as_ref());
        self
    }

    fn debuggee(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        self.now += RTT;
        self.inspector
            .handle(self.now, End::Debuggee, bytes.as_ref());
        self
    }

    fn advice(&mut self) -> Vec<Advice> {
        std::iter::from_fn(|| self.inspector.poll_advice()).collect()
    }
}

/// A message of DAP.
fn dap(json: &str) -> String {
    format!("Content-Length: {}\r\n\r\n{json}", json.len())
}

/// A message of DBGp from the debuggee.
fn dbgp(xml: &str) -> String {
    format!("{}\0{xml}\0", xml.len())
}

fn stopped_at(file: &str, line: u32) -> Option<Activity> {
    let file = file.to_owned();
    Some(Activity::Stopped(Some(Location { file, line })))
}

const INITIALIZE: &str = r#"{"seq":1,"type":"request","command":"initialize","arguments":{"clientID":"vscode","clientName":"Visual Studio Code","adapterID":"python"}}"#;

#[test]
fn debugpy_is_named_with_its_version_its_process_and_where_it_stopped() {
    let mut talk = Talk::new();
    talk.ide(dap(INITIALIZE));
    for package in ["ptvsd", "debugpy"] {
        talk.debuggee(dap(&format!(
            r#"{{"seq":1,"type":"event","event":"output","body":{{"category":"telemetry","output":"{package}","data":{{"packageVersion":"1.8.22"}}}}}}"#
        )));
    }
    talk.debuggee(dap(
        r#"{"seq":11,"type":"event","event":"process","body":{"name":"/srv/app/app.py","systemProcessId":4242,"isLocalProcess":true,"startMethod":"attach"}}"#,
    ))
    .debuggee(dap(
        r#"{"seq":12,"type":"event","event":"module","body":{"reason":"new","module":{"id":1,"name":"runpy","path":"/usr/lib/python3.11/runpy.py"}}}"#,
    ))
    .debuggee(dap(
        r#"{"seq":13,"type":"event","event":"stopped","body":{"reason":"breakpoint","threadId":1}}"#,
    ));
    let debugger = talk.inspector.debugger().unwrap();
    assert_eq!(debugger.protocol, Protocol::Dap);
    assert_eq!(debugger.name.as_deref(), Some("debugpy"));
    assert_eq!(debugger.version.as_deref(), Some("1.8.22"));
    assert_eq!(debugger.runtime.as_deref(), Some("Python 3.11"));
    assert_eq!(debugger.ide.as_deref(), Some("Visual Studio Code"));
    assert_eq!(debugger.pid, Some(4242));
    assert_eq!(debugger.activity, Some(Activity::Stopped(None)));
    talk.ide(dap(r#"{"seq":7,"type":"request","command":"stackTrace","arguments":{"threadId":1}}"#))
        .debuggee(dap(
            r#"{"seq":15,"type":"response","request_seq":7,"success":true,"command":"stackTrace","body":{"stackFrames":[{"id":2,"name":"f","line":17,"column":1,"source":{"path":"/home/me/app.py"}},{"id":3,"name":"g","line":1,"column":1}]}}"#,
        ));
    let debugger = talk.inspector.debugger().unwrap();
    assert_eq!(debugger.activity, stopped_at("/home/me/app.py", 17));
    talk.ide(dap(
        r#"{"seq":9,"type":"request","command":"continue","arguments":{"threadId":1}}"#,
    ));
    assert_eq!(
        talk.inspector.debugger().unwrap().activity,
        Some(Activity::Running)
    );
    talk.debuggee(dap(r#"{"seq":20,"type":"event","event":"terminated"}"#));
    assert_eq!(
        talk.inspector.debugger().unwrap().activity,
        Some(Activity::Ended)
    );
}

/// It says so before the IDE says anything, or after the IDE has taken it for its successor.
#[test]
fn ptvsd_is_not_taken_for_debugpy() {
    let initialize = INITIALIZE.replace("python", "debugpy");
    let telemetry = r#"{"seq":0,"type":"event","event":"output","body":{"category":"telemetry","output":"ptvsd","data":{"version":"4.3.2"}}}"#;
    for debuggee_first in [true, false] {
        let mut talk = Talk::new();
        if debuggee_first {
            talk.debuggee(dap(telemetry)).ide(dap(&initialize));
        } else {
            talk.ide(dap(&initialize)).debuggee(dap(telemetry));
        }
        let debugger = talk.inspector.debugger().unwrap();
        assert_eq!(debugger.name.as_deref(), Some("ptvsd"));
        assert_eq!(debugger.version.as_deref(), Some("4.3.2"));
    }
}

#[test]
fn debugpy_that_connects_says_which_python_it_runs_in() {
    let mut talk = Talk::new();
    talk.ide(dap(r#"{"seq": 1, "type": "request", "command": "pydevdSystemInfo"}"#))
        .debuggee(dap(
            r#"{"type":"response","request_seq":1,"success":true,"command":"pydevdSystemInfo","body":{"python":{"version":"3.11.7final0","implementation":{"name":"cpython"}},"process":{"pid":5314,"ppid":1}},"seq":2}"#,
        ));
    let debugger = talk.inspector.debugger().unwrap();
    assert_eq!(debugger.name.as_deref(), Some("debugpy"));
    assert_eq!(debugger.runtime.as_deref(), Some("Python 3.11"));
    assert_eq!(debugger.pid, Some(5314));
}

/// A step in VS Code: next, then threads when it has stopped, and one thing after the other of the stack.
#[test]
fn the_round_trips_of_a_step_are_counted() {
    let mut talk = Talk::new();
    talk.ide(dap(INITIALIZE)).debuggee(dap("{}"));
    for seq in [10, 20] {
        talk.ide(dap(&format!(
            r#"{{"seq":{seq},"type":"request","command":"next","arguments":{{}}}}"#
        )))
        .debuggee(dap(
            r#"{"seq":1,"type":"response","request_seq":1,"success":true,"command":"next"}"#,
        ))
        .debuggee(dap(
            r#"{"seq":2,"type":"event","event":"stopped","body":{"reason":"step"}}"#,
        ));
        for command in ["threads", "stackTrace", "scopes", "variables"] {
            let request = format!(r#"{{"seq":1,"type":"request","command":"{command}"}}"#);
            // What is asked together takes no longer.
            talk.ide(dap(&request))
                .ide(dap(&request))
                .debuggee(dap("{}"));
        }
    }
    let steps = talk.inspector.debugger().unwrap().step_round_trips;
    assert_eq!(steps, Some(5));
    // What a person asks later is no part of it.
    talk.now += Duration::from_secs(3);
    talk.ide(dap(r#"{"seq":1,"type":"request","command":"evaluate"}"#));
    let steps = talk.inspector.debugger().unwrap().step_round_trips;
    assert_eq!(steps, Some(5));
}

fn unresolved(talk: &mut Talk, path: &str) {
    talk.ide(dap(&format!(
        r#"{{"seq":3,"type":"request","command":"setBreakpoints","arguments":{{"source":{{"path":"{path}"}},"breakpoints":[{{"line":17}}]}}}}"#
    )))
    .debuggee(dap(
        r#"{"seq":7,"type":"response","request_seq":3,"success":true,"command":"setBreakpoints","body":{"breakpoints":[{"verified":false,"id":0,"message":"Breakpoint in file that does not exist.","line":17}]}}"#,
    ));
}

#[test]
fn a_breakpoint_in_a_file_that_does_not_exist_becomes_the_mapping_that_would_fix_it() {
    let mut talk = Talk::new();
    talk.ide(dap(INITIALIZE));
    unresolved(&mut talk, "/home/me/project/web/app.py");
    assert_eq!(talk.advice(), []);
    let process = dap(
        r#"{"seq":11,"type":"event","event":"process","body":{"name":"/srv/app/web/app.py","systemProcessId":1}}"#,
    );
    talk.debuggee(&process);
    let expected = Advice::FileMissing {
        file: "/home/me/project/web/app.py".into(),
        tried: None,
        there: Some("/srv/app/web/app.py".into()),
        mapping: Some(Mapping {
            ide: "/home/me/project".into(),
            debuggee: "/srv/app".into(),
        }),
    };
    assert_eq!(talk.advice(), [expected]);
    unresolved(&mut talk, "/home/me/project/web/app.py");
    talk.debuggee(&process);
    assert_eq!(talk.advice(), [], "said once");
}

#[test]
fn a_breakpoint_that_is_only_not_verified_yet_is_no_news() {
    let mut talk = Talk::new();
    talk.ide(dap(INITIALIZE)).ide(dap(
        r#"{"seq":3,"type":"request","command":"setBreakpoints","arguments":{"source":{"path":"/a/b.py"},"breakpoints":[{"line":1}]}}"#,
    ));
    talk.debuggee(dap(
        r#"{"seq":7,"type":"response","request_seq":3,"success":true,"command":"setBreakpoints","body":{"breakpoints":[{"verified":false,"message":"provisional"}]}}"#,
    ));
    talk.debuggee(dap(
        r#"{"seq":11,"type":"event","event":"process","body":{"name":"/c/b.py"}}"#,
    ));
    assert_eq!(talk.advice(), []);
}

const SUSPENDED: &str = "105\t4\t<xml><thread id=\"pid_5493_id_1\" stop_reason=\"111\"><frame id=\"1\" name=\"main\" \
    file=\"%2Fsrv%2Fapp%2Fapp.py\" line=\"20\"></frame></thread></xml>\n";

#[test]
fn pydevd_is_named_with_its_build_its_process_and_where_it_stopped() {
    let mut talk = Talk::new();
    talk.ide("501\t1\t0.1\tUNIX\n")
        .debuggee("501\t1\t263.7307.50\n")
        .ide("101\t7\t\n")
        .debuggee(SUSPENDED);
    let debugger = talk.inspector.debugger().unwrap();
    assert_eq!(debugger.protocol, Protocol::Pydevd);
    assert_eq!(debugger.name.as_deref(), Some("pydevd-pycharm"));
    assert_eq!(debugger.version.as_deref(), Some("263.7307.50"));
    assert_eq!(debugger.pid, Some(5493));
    assert_eq!(debugger.activity, stopped_at("/srv/app/app.py", 20));
    assert_eq!(talk.advice(), []);
    talk.ide("108\t17\tpid_5493_id_1\n")
        .debuggee("106\t14\tpid_5493_id_1\t108\n")
        .debuggee(SUSPENDED)
        .ide("114\t19\tpid_5493_id_1\t1\tFRAME\t0\n")
        .debuggee("114\t19\t<xml></xml>\n");
    let steps = talk.inspector.debugger().unwrap().step_round_trips;
    assert_eq!(steps, Some(2));
}

#[test]
fn a_pydevd_of_another_build_than_the_ides_is_told_of() {
    let advice = Advice::PydevdVersion {
        debuggee: "243.21565.199".into(),
        ide: "263.7307.50".into(),
    };
    let context = Context {
        ide_build: Some("263.7307.50".into()),
        roots: None,
    };
    let mut talk = Talk::with(context);
    talk.ide("501\t1\t0.1\tUNIX\n")
        .debuggee("501\t1\t243.21565.199\n");
    assert_eq!(talk.advice(), std::slice::from_ref(&advice));
    // An IDE may name its build itself.
    let mut talk = Talk::new();
    talk.ide("501\t1\t263.7307.50\tUNIX\n")
        .debuggee("501\t1\t243.21565.199\n");
    assert_eq!(talk.advice(), [advice]);
    // debugpy's pydevd has a number of another kind.
    let mut talk = Talk::new();
    talk.ide("501\t1\t263.7307.50\tUNIX\n")
        .debuggee("501\t1\t1.1.1\n");
    assert_eq!(talk.advice().len(), 1);
}

/// What the IDE's configuration says stands in its `attach`.
#[test]
fn the_mapping_in_force_is_read_and_never_proposed_again() {
    let attach = |mappings: &str| {
        dap(&format!(
            r#"{{"seq":2,"type":"request","command":"attach","arguments":{{{mappings}}}}}"#
        ))
    };
    let stop = |path: &str| {
        dap(&format!(
            r#"{{"seq":9,"type":"event","event":"module","body":{{"module":{{"path":"{path}"}}}}}}"#
        ))
    };
    for mappings in [
        r#""pathMappings":[{"localRoot":"/home/me/p","remoteRoot":"/app"}]"#,
        r#""substitutePath":[{"from":"/home/me/p","to":"/app"}]"#,
        r#""pathMappings":{"/app":"/home/me/p"}"#,
        r#""localRoot":"/home/me/p","remoteRoot":"/app""#,
        r#""localfsMap":"/gems:/home/me/gems,/app:/home/me/p""#,
    ] {
        let mut talk = Talk::new();
        talk.ide(dap(INITIALIZE)).ide(attach(mappings));
        unresolved(&mut talk, "/home/me/p/web/app.py");
        talk.debuggee(stop("/app/web/other.py"));
        let [Advice::FileMissing { tried, mapping, .. }] = &talk.advice()[..] else {
            panic!("{mappings}")
        };
        assert_eq!(tried.as_deref(), Some("/app/web/app.py"), "{mappings}");
        assert_eq!(*mapping, None, "{mappings}");
    }
}

#[test]
fn a_stop_in_a_file_that_no_mapping_covers_is_told_with_the_file_that_is_meant() {
    let mut talk = Talk::new();
    talk.ide(dap(INITIALIZE)).ide(dap(
        r#"{"seq":2,"type":"request","command":"attach","arguments":{"pathMappings":[{"localRoot":"/home/me/p","remoteRoot":"/srv/releases/5"}]}}"#,
    ));
    talk.ide(dap(
        r#"{"seq":3,"type":"request","command":"setBreakpoints","arguments":{"source":{"path":"/home/me/p/app.py"},"breakpoints":[{"line":1}]}}"#,
    ));
    talk.debuggee(dap(
        r#"{"seq":5,"type":"event","event":"stopped","body":{"reason":"breakpoint","threadId":1}}"#,
    ));
    talk.debuggee(dap(
        r#"{"seq":6,"type":"response","request_seq":4,"success":true,"command":"stackTrace","body":{"stackFrames":[{"id":1,"line":1,"source":{"path":"/srv/current/app.py"}}]}}"#,
    ));
    let expected = Advice::StopUnmapped {
        file: "/srv/current/app.py".into(),
        here: Some("/home/me/p/app.py".into()),
        mapping: Mapping {
            ide: "/home/me/p".into(),
            debuggee: "/srv/current".into(),
        },
    };
    assert_eq!(talk.advice(), [expected]);
}

/// `.` is what VS Code's template has for debugpy, and what `p2pdbg ide` writes there.
#[test]
fn a_step_into_another_file_of_the_same_name_is_no_fault_of_the_mapping() {
    for mappings in [
        r#""pathMappings":[{"localRoot":"/home/me/p","remoteRoot":"."}]"#,
        r#""localfsMap":"/srv/app:/home/me/p""#,
        r#""mode":"remote""#,
    ] {
        let mut talk = Talk::with(Context {
            ide_build: None,
            roots: Some(Mapping {
                ide: "/home/me/p".into(),
                debuggee: "/srv/app".into(),
            }),
        });
        talk.ide(dap(INITIALIZE)).ide(dap(&format!(
            r#"{{"seq":2,"type":"request","command":"attach","arguments":{{{mappings}}}}}"#
        )));
        talk.ide(dap(
            r#"{"seq":3,"type":"request","command":"setBreakpoints","arguments":{"source":{"path":"/home/me/p/users/models.py"},"breakpoints":[{"line":1}]}}"#,
        ));
        talk.debuggee(dap(
            r#"{"seq":5,"type":"event","event":"stopped","body":{"reason":"step","threadId":1}}"#,
        ));
        talk.debuggee(dap(
            r#"{"seq":6,"type":"response","request_seq":4,"success":true,"command":"stackTrace","body":{"stackFrames":[{"id":1,"line":1,"source":{"path":"/home/me/p/orders/models.py"}}]}}"#,
        ));
        assert_eq!(talk.advice(), [], "{mappings}");
    }
}

#[test]
fn a_file_that_is_not_deployed_is_not_told_with_the_mapping_that_leads_to_its_directory() {
    let mut talk = Talk::with(Context {
        ide_build: None,
        roots: Some(Mapping {
            ide: "/home/me/p".into(),
            debuggee: "/srv/app".into(),
        }),
    });
    talk.ide(dap(INITIALIZE)).ide(dap(
        r#"{"seq":2,"type":"request","command":"attach","arguments":{"pathMappings":[{"localRoot":"/home/me/p","remoteRoot":"."}]}}"#,
    ));
    talk.debuggee(dap(
        r#"{"seq":11,"type":"event","event":"process","body":{"name":"/srv/app/manage.py"}}"#,
    ));
    unresolved(&mut talk, "/home/me/p/new.py");
    let expected = Advice::FileMissing {
        file: "/home/me/p/new.py".into(),
        tried: Some("./new.py".into()),
        there: None,
        mapping: None,
    };
    assert_eq!(talk.advice(), [expected]);
}

/// As debugpy 1.8 names the frames of `python /srv/app/manage.py` that a service of systemd has started, in `/`.
#[test]
fn where_the_program_was_started_elsewhere_the_mapping_to_its_start_is_told_with_the_right_one() {
    let roots = Mapping {
        ide: "/home/me/p".into(),
        debuggee: "/srv/app".into(),
    };
    let mut talk = Talk::with(Context {
        ide_build: None,
        roots: Some(roots.clone()),
    });
    talk.ide(dap(INITIALIZE)).ide(dap(
        r#"{"seq":2,"type":"request","command":"attach","arguments":{"pathMappings":[{"localRoot":"/home/me/p","remoteRoot":"."}]}}"#,
    ));
    unresolved(&mut talk, "/home/me/p/users/models.py");
    talk.debuggee(dap(
        r#"{"seq":11,"type":"event","event":"process","body":{"name":"/srv/app/manage.py","systemProcessId":9579}}"#,
    ));
    let told = |there: Option<&str>, mapping| Advice::FileMissing {
        file: "/home/me/p/users/models.py".into(),
        tried: Some("./users/models.py".into()),
        there: there.map(str::to_owned),
        mapping,
    };
    assert_eq!(talk.advice(), [told(None, None)]);
    talk.debuggee(dap(
        r#"{"seq":12,"type":"event","event":"stopped","body":{"reason":"pause","threadId":1}}"#,
    ));
    talk.debuggee(dap(
        r#"{"seq":13,"type":"response","request_seq":9,"success":true,"command":"stackTrace","body":{"stackFrames":[{"id":2,"line":1,"source":{"path":"/home/me/p/srv/app/users/models.py"}},{"id":3,"line":5,"source":{"path":"/home/me/p/srv/app/manage.py"}},{"id":4,"line":88,"source":{"path":"/home/me/p/usr/lib/python3.11/runpy.py"}}]}}"#,
    ));
    let right = told(Some("/srv/app/users/models.py"), Some(roots));
    assert_eq!(talk.advice(), [right]);
}

#[test]
fn what_pydevd_prints_of_a_missing_file_becomes_a_mapping() {
    let mut talk = Talk::new();
    talk.ide("501\t1\t0.1\tUNIX\n")
        .debuggee("501\t1\t263.7307.50\n")
        .ide("111\t3\tpython-line\t/home/me/app.py\t14\tdouble\tNONE\tNone\tNone\n")
        .debuggee("116\t8\t<xml><io s=\"pydev debugger: warning: trying to add breakpoint to file that does not\" ctx=\"2\"/></xml>\n")
        .debuggee("116\t10\t<xml><io s=\"%20exist: /home/me/app.py (will have no effect)%250A\" ctx=\"2\"/></xml>\n");
    assert_eq!(talk.advice(), []);
    talk.debuggee(SUSPENDED);
    let mapping = Some(Mapping {
        ide: "/home/me".into(),
        debuggee: "/srv/app".into(),
    });
    let expected = Advice::FileMissing {
        file: "/home/me/app.py".into(),
        tried: None,
        there: Some("/srv/app/app.py".into()),
        mapping,
    };
    assert_eq!(talk.advice(), [expected]);
}

const INIT: &str = r#"<?xml version="1.0" encoding="iso-8859-1"?>
<init xmlns="urn:debugger_protocol_v1" xmlns:xdebug="https://xdebug.org/dbgp/xdebug" fileuri="file:///srv/www/app.php" language="PHP" xdebug:language_version="8.2.29" protocol_version="1.0" appid="4242"><engine version="3.2.0"><![CDATA[Xdebug]]></engine><author><![CDATA[Derick Rethans]]></author></init>"#;

#[test]
fn xdebug_is_named_with_its_version_its_process_and_where_it_stopped() {
    let mut talk = Talk::new();
    talk.debuggee(dbgp(INIT));
    let debugger = talk.inspector.debugger().unwrap();
    assert_eq!(debugger.protocol, Protocol::Dbgp);
    assert_eq!(debugger.name.as_deref(), Some("Xdebug"));
    assert_eq!(debugger.version.as_deref(), Some("3.2.0"));
    assert_eq!(debugger.runtime.as_deref(), Some("PHP 8.2.29"));
    assert_eq!(debugger.pid, Some(4242));
    talk.ide("step_over -i 5\0").debuggee(dbgp(
        r#"<response xmlns="urn:debugger_protocol_v1" command="step_over" transaction_id="5" status="break" reason="ok"><xdebug:message filename="file:///srv/www/app.php" lineno="17"></xdebug:message></response>"#,
    ));
    let debugger = talk.inspector.debugger().unwrap();
    assert_eq!(debugger.activity, stopped_at("/srv/www/app.php", 17));
    assert_eq!(debugger.step_round_trips, Some(1));
    assert_eq!(talk.advice(), []);
}

#[test]
fn a_breakpoint_for_the_script_by_another_path_becomes_a_mapping() {
    let mut talk = Talk::new();
    talk.debuggee(dbgp(INIT))
        .ide("breakpoint_set -i 3 -t line -f file:///home/me/www/app.php -n 5\0");
    let mapping = Some(Mapping {
        ide: "/home/me".into(),
        debuggee: "/srv".into(),
    });
    let expected = Advice::FileMissing {
        file: "/home/me/www/app.php".into(),
        tried: None,
        there: Some("/srv/www/app.php".into()),
        mapping,
    };
    assert_eq!(talk.advice(), [expected]);
    let mut talk = Talk::new();
    talk.debuggee(dbgp(INIT))
        .ide("breakpoint_set -i 3 -t line -f \"file:///srv/www/app.php\" -n 5\0")
        .ide("breakpoint_set -i 4 -t line -f file:///srv/www/db.php -n 5\0");
    assert_eq!(talk.advice(), []);
}

#[test]
fn gdb_is_told_from_lldb_and_its_steps_are_counted() {
    let mut talk = Talk::new();
    talk.ide("+$qSupported:multiprocess+;swbreak+;xmlRegisters=i386#77")
        .debuggee("+$PacketSize=47ff#00")
        .ide("$vCont;r401136,40113d:p1387.1387;c:p1387.-1#00")
        .debuggee("$T0506:0*,;thread:p1387.1387;core:1;#00")
        .ide("$g#67")
        .debuggee("$00#00")
        .ide("$m401136,8#00")
        .debuggee("$00#00");
    let debugger = talk.inspector.debugger().unwrap();
    assert_eq!(debugger.protocol, Protocol::GdbRemote);
    assert_eq!(debugger.ide.as_deref(), Some("gdb"));
    assert_eq!(debugger.pid, Some(0x1387));
    assert_eq!(debugger.activity, Some(Activity::Stopped(None)));
    assert_eq!(debugger.step_round_trips, Some(3));
    talk.ide("$vCont;c:p1387.-1#00")
        .debuggee("$W00;process:1387#00");
    let debugger = talk.inspector.debugger().unwrap();
    assert_eq!(debugger.activity, Some(Activity::Ended));
}

#[test]
fn a_virtual_machine_says_its_version() {
    let text = |text: &str| {
        let mut bytes = u32::try_from(text.len()).unwrap().to_be_bytes().to_vec();
        bytes.extend(text.bytes());
        bytes
    };
    let answer = [
        text("Java Debug Wire Protocol"),
        vec![0; 8],
        text("17.0.15"),
        text("OpenJDK 64-Bit Server VM"),
    ]
    .concat();
    let packet = |id: u32, flags: u8, command: [u8; 2], data: &[u8]| {
        let mut packet = u32::try_from(11 + data.len())
            .unwrap()
            .to_be_bytes()
            .to_vec();
        packet.extend(id.to_be_bytes());
        packet.push(flags);
        packet.extend(command);
        packet.extend(data);
        packet
    };
    let mut talk = Talk::new();
    talk.ide("JDWP-Handshake")
        .debuggee("JDWP-Handshake")
        .ide(packet(1, 0, [1, 1], &[]))
        .debuggee(packet(1, 0x80, [0, 0], &answer))
        .debuggee(packet(9, 0, [64, 100], &[2, 0, 0, 0, 1, 2]));
    let debugger = talk.inspector.debugger().unwrap();
    assert_eq!(debugger.name.as_deref(), Some("OpenJDK 64-Bit Server VM"));
    assert_eq!(debugger.runtime.as_deref(), Some("Java 17.0.15"));
    assert_eq!(debugger.activity, Some(Activity::Stopped(None)));
}

#[test]
fn what_was_not_seen_ends_the_understanding_and_keeps_what_is_known() {
    let mut talk = Talk::new();
    talk.ide(dap(INITIALIZE));
    talk.inspector.handle_gap(End::Debuggee, 1);
    assert!(talk.inspector.is_done());
    talk.debuggee(dap(r#"{"seq":1,"type":"event","event":"terminated"}"#));
    assert_eq!(talk.inspector.debugger().unwrap().activity, None);
}

#[test]
fn a_hole_in_a_long_message_does_no_harm() {
    let mut talk = Talk::new();
    talk.ide(dap(INITIALIZE));
    talk.debuggee(format!("Content-Length: {}\r\n\r\n{{", 50 << 20));
    talk.inspector.handle_gap(End::Debuggee, 40 << 20);
    talk.debuggee(vec![b' '; (10 << 20) - 1]);
    talk.debuggee(dap(r#"{"seq":1,"type":"event","event":"terminated"}"#));
    let debugger = talk.inspector.debugger().unwrap();
    assert_eq!(debugger.activity, Some(Activity::Ended));
    // More than there was left of it: what follows begins somewhere.
    talk.debuggee("Content-Length: 50\r\n\r\n{");
    talk.inspector.handle_gap(End::Debuggee, 50);
    assert!(talk.inspector.is_done());
}

#[test]
fn the_build_of_the_ide_may_be_learnt_after_the_version_of_the_debuggee() {
    let mut talk = Talk::new();
    talk.ide("501\t1\t0.1\tUNIX\n")
        .debuggee("501\t1\t243.21565.199\n");
    assert_eq!(talk.advice(), []);
    talk.inspector.on_ide_build("PY-263.7307.50");
    assert_eq!(talk.advice().len(), 1);
}

#[test]
fn a_message_of_100_mb_costs_nothing_and_the_next_is_understood() {
    let mut talk = Talk::new();
    talk.ide(dap(INITIALIZE));
    talk.debuggee(format!("Content-Length: {}\r\n\r\n", 100 << 20));
    let chunk = vec![b'{'; 1 << 20];
    for _ in 0..100 {
        talk.debuggee(&chunk);
    }
    talk.debuggee(dap(r#"{"seq":1,"type":"event","event":"terminated"}"#));
    assert_eq!(
        talk.inspector.debugger().unwrap().activity,
        Some(Activity::Ended)
    );
}
