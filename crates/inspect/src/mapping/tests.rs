//! Files and mappings as debuggers and IDEs name them, without their protocols.

use super::*;

fn mapping(missing: &str, files: &[&str]) -> Option<Mapping> {
    let mut known = Files::default();
    files.iter().for_each(|file| known.on_debuggee_file(file));
    known.on_missing(missing, false);
    known.poll(None).unwrap().mapping
}

#[test]
fn what_is_before_the_common_end_is_mapped() {
    let found = mapping(
        "/home/me/project/web/app.py",
        &[
            "/usr/lib/app.py",
            "/srv/app/web/app.py",
            "/srv/app/web/db.py",
        ],
    );
    let expected = Mapping {
        ide: "/home/me/project".into(),
        debuggee: "/srv/app".into(),
    };
    assert_eq!(found, Some(expected));
    let windows = mapping(r"C:\work\app.py", &["/app.py"]);
    let expected = Mapping {
        ide: r"C:\work".into(),
        debuggee: "/".into(),
    };
    assert_eq!(windows, Some(expected));
}

#[test]
fn no_mapping_is_made_up() {
    assert_eq!(mapping("/home/me/app.py", &["/srv/other.py"]), None);
    assert_eq!(mapping("/srv/app.py", &["/srv/app.py"]), None);
    let mut files = Files::default();
    files.on_missing("/home/me/app.py", false);
    assert_eq!(files.poll(None), None);
    files.on_debuggee_file("relative/app.py");
    assert_eq!(files.poll(None), None);
}

#[test]
fn without_a_file_in_common_the_roots_help() {
    let roots = Mapping {
        ide: "/home/me/project".into(),
        debuggee: "/srv/app".into(),
    };
    let mut files = Files::default();
    files.on_missing("/home/me/project/a.py", false);
    files.on_missing("/home/me/projects/a.py", false);
    let told = files.poll(Some(&roots)).unwrap();
    assert_eq!(told.mapping, Some(roots.clone()));
    assert_eq!(told.there.as_deref(), Some("/srv/app/a.py"));
    assert_eq!(files.poll(Some(&roots)), None);
}

#[test]
fn the_mapping_that_has_just_failed_is_never_proposed() {
    let roots = Mapping {
        ide: "/home/me/p".into(),
        debuggee: "/app".into(),
    };
    let mut files = Files::default();
    files.on_mapping("/home/me/p", "/app");
    files.on_missing("/home/me/p/backend/app.py", false);
    assert_eq!(files.poll(Some(&roots)), None, "nothing is known yet");
    // Shown by the IDE's path, since the mapping covers it.
    files.on_debuggee_file("/home/me/p/backend/app.py");
    assert_eq!(files.poll(Some(&roots)), None);
    files.on_debuggee_file("/app/app.py");
    let told = files.poll(Some(&roots)).unwrap();
    assert_eq!(told.tried.as_deref(), Some("/app/backend/app.py"));
    assert_eq!(told.there.as_deref(), Some("/app/app.py"));
    assert_eq!(told.mapping.unwrap().ide, "/home/me/p/backend");
    files.on_missing("/home/me/p/other.py", false);
    let told = files.poll(Some(&roots)).unwrap();
    assert_eq!(
        (told.mapping, told.tried.as_deref()),
        (None, Some("/app/other.py"))
    );
}

#[test]
fn files_of_libraries_and_those_of_which_there_are_two_are_no_evidence() {
    let lib = "/usr/lib/python3.11/site-packages/x/app.py";
    assert_eq!(mapping("/home/me/app.py", &[lib, "/srv/b.py"]), None);
    assert_eq!(
        mapping("/home/me/app.py", &["/srv/1/app.py", "/srv/2/app.py"]),
        None
    );
}

#[test]
fn names_that_differ_in_case_are_mapped_as_far_as_a_mapping_leads_to_them() {
    let missing = |file: &str, there: &str| {
        let mut known = Files::default();
        known.on_debuggee_file(there);
        known.on_missing(file, false);
        let roots = Mapping {
            ide: "/home/me".into(),
            debuggee: "/srv".into(),
        };
        let missing = known.poll(Some(&roots)).unwrap();
        let mapping = missing.mapping.map(|found| (found.ide, found.debuggee));
        assert_eq!(missing.there.as_deref(), Some(there), "{file}");
        mapping
    };
    let pair = |ide: &str, debuggee: &str| Some((ide.to_owned(), debuggee.to_owned()));
    assert_eq!(
        missing("/home/me/Web/api/app.py", "/srv/web/api/app.py"),
        pair("/home/me/Web", "/srv/web")
    );
    assert_eq!(
        missing("/home/me/App/x.py", "/home/me/app/x.py"),
        pair("/home/me/App", "/home/me/app")
    );
    assert_eq!(missing("/home/me/Web/App.py", "/srv/web/app.py"), None);
    assert_eq!(
        missing("/home/me/Web/App.py", r"C:\srv\web\app.py"),
        pair("/home/me", r"C:\srv")
    );
    let mut files = Files::default();
    files.on_ide_file("/home/me/Web/app.py");
    let told = files.on_stop("/srv/web/app.py", None).unwrap();
    assert_eq!(told.here.as_deref(), Some("/home/me/Web/app.py"));
    assert_eq!(told.mapping.ide, "/home/me/Web");
    assert_eq!(files.on_stop("/srv/web/App.py", None), None);
}

#[test]
fn a_stop_in_a_file_that_nothing_maps_is_told_once() {
    let mut files = Files::default();
    files.on_mapping("/home/me/p", "/srv/releases/5");
    files.on_ide_file("/home/me/p/app.py");
    assert_eq!(files.on_stop("/home/me/p/app.py", None), None);
    assert_eq!(files.on_stop("/usr/lib/python3.11/json/app.py", None), None);
    assert_eq!(files.on_stop("/srv/current/other.py", None), None);
    let told = files.on_stop("/srv/current/app.py", None).unwrap();
    assert_eq!(told.here.as_deref(), Some("/home/me/p/app.py"));
    assert_eq!(told.mapping.debuggee, "/srv/current");
    assert_eq!(files.on_stop("/srv/current/app.py", None), None);
}

const ROOTS: (&str, &str) = ("/home/me/p", "/srv/app");

fn of((ide, debuggee): (&str, &str)) -> Mapping {
    let (ide, debuggee) = (ide.into(), debuggee.into());
    Mapping { ide, debuggee }
}

#[test]
fn where_a_mapping_leads_to_a_relative_directory_its_files_are_covered() {
    let roots = of(ROOTS);
    let mut files = Files::default();
    files.on_mapping("/home/me/p", ".");
    files.on_ide_file("/home/me/p/users/models.py");
    // The debugger names what is below it by the IDE's paths.
    files.on_debuggee_file("/home/me/p/orders/models.py");
    assert_eq!(files.on_stop("/home/me/p/orders/models.py", None), None);
    assert_eq!(
        files.on_stop("/home/me/p/orders/views.py", Some(&roots)),
        None
    );
    // Its mapping is tried already, and has failed.
    files.on_missing("/home/me/p/users/models.py", false);
    assert_eq!(files.poll(Some(&roots)), None, "nothing is known yet");
    files.on_program("/srv/app/manage.py");
    let told = files.poll(Some(&roots)).unwrap();
    assert_eq!(told.mapping, None);
    assert_eq!(told.tried.as_deref(), Some("./users/models.py"));
    files.on_debuggee_file("/home/me/p/manage.py");
    files.on_debuggee_file("/usr/lib/python3.11/runpy.py");
    assert_eq!(
        files.poll(Some(&roots)),
        None,
        "it was started in the roots"
    );
}

#[test]
fn mapping_to_where_the_program_was_started_is_not_that_of_the_roots_once_its_files_show_it() {
    let roots = of(ROOTS);
    for (program, shown) in [
        // Started at the top of the host, above the roots, and beside them.
        ("/srv/app/manage.py", "/home/me/p/srv/app/manage.py"),
        ("/srv/app/manage.py", "/home/me/p/app/manage.py"),
        ("/srv/app/manage.py", "/srv/app/manage.py"),
        ("manage.py", "/srv/app/manage.py"),
    ] {
        let mut files = Files::default();
        files.on_mapping("/home/me/p", ".");
        files.on_missing("/home/me/p/users/models.py", false);
        files.on_program("/usr/bin/flask");
        assert_eq!(files.poll(Some(&roots)).unwrap().mapping, None);
        files.on_program(program);
        assert_eq!(files.poll(Some(&roots)), None);
        files.on_debuggee_file(shown);
        let told = files.poll(Some(&roots)).unwrap();
        assert_eq!(told.mapping, Some(roots.clone()), "{program} {shown}");
        assert_eq!(told.there.as_deref(), Some("/srv/app/users/models.py"));
        assert_eq!(files.poll(Some(&roots)), None, "once");
    }
    // A directory in the project that is called as the one that it is in, as FastAPI has it, tells nothing.
    let mut files = Files::default();
    files.on_mapping("/home/me/p", ".");
    files.on_missing("/home/me/p/users/models.py", false);
    files.on_program("/srv/app/app/main.py");
    files.on_debuggee_file("/home/me/p/app/main.py");
    assert_eq!(files.poll(Some(&roots)).unwrap().mapping, None);
    assert_eq!(files.poll(Some(&roots)), None);
}

#[test]
fn mapping_of_a_part_of_the_project_is_held_against_that_part_of_the_roots() {
    let roots = of(ROOTS);
    let proposed = |ide: &str, shown: &str| {
        let mut files = Files::default();
        files.on_mapping(ide, ".");
        files.on_program("/srv/app/backend/manage.py");
        files.on_missing(&format!("{ide}/gone.py"), false);
        files.on_debuggee_file(shown);
        files.poll(Some(&roots)).unwrap().mapping
    };
    // Started in the part that is meant, with sources beside it.
    for shown in ["/srv/app/lib/util.py", "/home/me/p/backend/manage.py"] {
        assert_eq!(proposed("/home/me/p/backend", shown), None, "{shown}");
    }
    for shown in [
        "/srv/app/backend/manage.py",
        "/home/me/p/backend/backend/manage.py",
    ] {
        let proposed = proposed("/home/me/p/backend", shown);
        assert_eq!(proposed, Some(roots.clone()), "{shown}");
    }
    // What the roots say nothing of.
    assert_eq!(proposed("/home/me/q", "/srv/app/lib/util.py"), None);
}

#[test]
fn another_file_of_the_programs_name_is_no_start_above_the_roots() {
    let roots = of(("/home/me/p", "/app"));
    let mut files = Files::default();
    files.on_mapping("/home/me/p", ".");
    files.on_program("/app/main.py");
    files.on_missing("/home/me/p/gone.py", false);
    files.on_debuggee_file("/home/me/p/main.py");
    files.on_debuggee_file("/home/me/p/app/main.py");
    assert_eq!(files.poll(Some(&roots)).unwrap().mapping, None);
    assert_eq!(files.poll(Some(&roots)), None);
}

#[test]
fn missing_file_is_told_again_with_a_mapping_alone() {
    let roots = of(ROOTS);
    let mut files = Files::default();
    files.on_mapping("/home/me", ".");
    files.on_mapping("/home/me/p", ".");
    // Not among the roots, which lead nowhere from it.
    files.on_missing("/home/me/other/gone.py", false);
    files.on_missing("/home/me/p/gone.py", false);
    files.on_program("/srv/app/manage.py");
    for _ in 0..2 {
        assert_eq!(files.poll(Some(&roots)).unwrap().mapping, None);
    }
    files.on_debuggee_file("/home/me/p/srv/app/manage.py");
    let told = files.poll(Some(&roots)).unwrap();
    assert_eq!(told.file, "/home/me/p/gone.py");
    assert_eq!(told.mapping, Some(roots.clone()));
    assert_eq!(files.poll(Some(&roots)), None);
}

#[test]
fn paths_of_windows_are_told_by_drives_and_separators() {
    for path in [r"C:\app", "C:/app", r"\\host\app", r"app\web"] {
        assert!(is_of_windows(path), "{path}");
    }
    for path in ["/srv/app", "./app", "app/web", "app", ".", r"/srv/a\b"] {
        assert!(!is_of_windows(path), "{path}");
    }
    let there = |there: &str| of(("/home/me", there)).apply("/home/me/web/app.py");
    assert_eq!(there("srv").as_deref(), Some("srv/web/app.py"));
    assert_eq!(there(r"srv\x").as_deref(), Some(r"srv\x\web\app.py"));
    let in_case = between("/home/me/Web/app.py", "srv/web/app.py").unwrap();
    assert_eq!(in_case.ide, "/home/me/Web");
}

#[test]
fn two_files_of_one_name_in_the_same_sources_give_no_mapping() {
    let stop = |breakpoint: &str, stop: &str, roots: Option<Mapping>| {
        let mut files = Files::default();
        files.on_ide_file(breakpoint);
        files.on_stop(stop, roots.as_ref())
    };
    for (breakpoint, path) in [
        ("/home/me/p/users/models.py", "/home/me/p/orders/models.py"),
        ("/home/me/p/users/models.py", "/home/me/p/a/b/models.py"),
        ("/app/users/models.py", "/app/orders/models.py"),
        ("/app/models.py", "/app/orders/models.py"),
        (r"C:\work\users\models.py", r"c:\work\orders\models.py"),
    ] {
        assert_eq!(stop(breakpoint, path, None), None, "{path}");
        assert_eq!(stop(path, breakpoint, None), None, "{path}");
        assert_eq!(mapping(breakpoint, &[path]), None, "{path}");
    }
    let (users, orders) = ("/srv/a/users/x.py", "/srv/b/orders/x.py");
    assert!(stop(users, orders, None).is_some());
    assert_eq!(stop(users, orders, Some(of(("/srv", "/app")))), None);
    // The same project of two users, and in two containers.
    assert_eq!(
        mapping("/home/me/p/app.py", &["/home/you/p/app.py"]),
        Some(of(("/home/me", "/home/you")))
    );
    assert_eq!(
        mapping("/src/app.py", &["/app/app.py"]),
        Some(of(("/src", "/app")))
    );
}

#[test]
fn project_that_lies_elsewhere_in_a_home_of_the_same_name_is_mapped_as_a_whole() {
    let missing = |file: &str, there: &str, in_force: Option<&str>, program: &str| {
        let mut files = Files::default();
        in_force.inspect(|ide| files.on_mapping(ide, ide));
        files.on_program(program);
        files.on_debuggee_file(there);
        files.on_missing(file, false);
        files.poll(None).and_then(|told| told.mapping)
    };
    let (here, there) = ("/home/me/a/proj/web/x.py", "/home/me/b/proj/web/x.py");
    let pair = Some(of(("/home/me/a/proj", "/home/me/b/proj")));
    let (open, program) = (Some("/home/me/a/proj"), "/home/me/b/proj/app.py");
    assert_eq!(missing(here, there, open, "/usr/bin/flask"), pair);
    assert_eq!(missing(here, there, None, program), pair);
    let deeper = of(("/root/proj", "/root/apps/proj"));
    let (here_of_root, there_of_root) = ("/root/proj/x.py", "/root/apps/proj/x.py");
    assert_eq!(
        missing(
            here_of_root,
            there_of_root,
            Some("/root/proj"),
            "/usr/bin/flask"
        ),
        Some(deeper)
    );
    // Nothing tells what the project is, or it holds both, or has no name that both ends have.
    let none: [(&str, &str, Option<&str>, &str); 5] = [
        (here, there, None, "/usr/bin/flask"),
        (here, there, Some("/home/me"), "/home/me/manage.py"),
        (here, there, None, "/home/me/manage.py"),
        (
            "/home/me/a/x.py",
            "/home/me/b/x.py",
            Some("/home/me/a"),
            "/home/me/b/x.py",
        ),
        (
            "/srv/a/api/x.py",
            "/srv/b/api/x.py",
            Some("/srv/a/api"),
            "/srv/b/api/x.py",
        ),
    ];
    for (here, there, open, program) in none {
        assert_eq!(missing(here, there, open, program), None, "{here} {open:?}");
    }
    let stop = |open: Option<&str>, program: &str| {
        let mut files = Files::default();
        open.inspect(|ide| files.on_mapping(ide, ide));
        files.on_program(program);
        files.on_ide_file(here);
        files.on_stop(there, None).map(|told| told.mapping)
    };
    assert_eq!(stop(open, "/usr/bin/flask"), pair);
    // Each service of a home may have a file of that name, and the IDE's is not said to be missing.
    assert_eq!(stop(None, program), None);
}
