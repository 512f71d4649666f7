//! Lets 100,000 pairs of a simulated internet meet and writes what became of them into docs/TRAVERSAL.md.
//!
//! ```text
//! cargo run --release -p p2pdbg-simnet --example internet [-- PAIRS]
//! ```
//!
//! It is the same on every machine: everything is drawn from the seeds.

use std::{
    fmt::Write as _,
    path::Path,
    sync::atomic::{AtomicU64, Ordering},
    time::Instant,
};

use p2pdbg_simnet::{
    population::{Mix, Place},
    survey::{DEADLINE, IDLE, Survey, quantile},
};

const BEGIN: &str = "<!-- measured: cargo run --release -p p2pdbg-simnet --example internet -->";
const END: &str = "<!-- end of the simulated internet -->";

/// Pairs that a thread takes at a time.
const CHUNK: u64 = 250;

/// Surveys so many pairs on all cores.
fn survey(mix: &Mix, pairs: u64) -> Survey {
    let next = AtomicU64::new(0);
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    let work = || {
        let mut all = Survey::default();
        loop {
            let from = next.fetch_add(CHUNK, Ordering::Relaxed);
            if from >= pairs {
                return all;
            }
            all.extend(Survey::of(mix, from..(from + CHUNK).min(pairs)));
        }
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        let mut all = Survey::default();
        for worker in workers {
            all.extend(worker.join().expect("a worker panicked"));
        }
        all
    })
}

fn percent(share: f64) -> String {
    match 100.0 * share {
        whole if whole >= 99.995 => "100 %".to_owned(),
        0.0 => "0 %".to_owned(),
        some if some >= 10.0 => format!("{some:.1} %"),
        few => format!("{few:.2} %"),
    }
}

fn seconds(survey: &Survey, share: f64) -> String {
    quantile(&survey.times(), share)
        .map_or("–".to_owned(), |t| format!("{:.2} s", t.as_secs_f64()))
}

fn count(n: usize) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// What is drawn, and where the shares are from.
fn shares(out: &mut String, mix: &Mix) -> std::fmt::Result {
    let p = |share: f64| format!("{:.0} %", 100.0 * share);
    let places = |of: &[f64; 4]| {
        let each = Place::ALL.iter().zip(of);
        let each: Vec<String> = each
            .map(|(place, &s)| format!("{} {}", place.name(), p(s)))
            .collect();
        each.join(", ")
    };
    let blocked: f64 = mix
        .places
        .iter()
        .zip(mix.udp_blocked)
        .map(|(a, b)| a * b)
        .sum();
    let ipv6: f64 = mix.places.iter().zip(mix.ipv6).map(|(a, b)| a * b).sum();
    let rows = [
        ("where a host is", places(&mix.places), "assumption".to_owned()),
        (
            "no UDP gets out",
            format!("{}; {:.1} % of all", places(&mix.udp_blocked), 100.0 * blocked),
            "3 to 5 % of networks: RFC 9308 section 2. How it is spread is an assumption".to_owned(),
        ),
        (
            "of those, no TCP either but to ports 80 and 443",
            places(&mix.web_only),
            "assumption".to_owned(),
        ),
        (
            "of those, only what is the web's inside",
            format!("{}; for the worse 75 %", p(mix.web_inspected)),
            "assumption".to_owned(),
        ),
        (
            "a host on which a user's program may listen at port 443, and nobody else does",
            p(mix.own_web_port),
            "Windows and macOS let any user, Linux root, which is what most containers run as; the figure is an assumption, and a low one".to_owned(),
        ),
        (
            "a NAT that keeps its hosts' ports keeps 443, too",
            format!("{} of home routers and office firewalls, no carrier's", p(mix.keeps_web_port)),
            "Linux does, and RFC 4787 REQ-3a recommends it where the range is kept; the figure is an assumption".to_owned(),
        ),
        (
            "a SYN from where one was sent to does not get in (no simultaneous open)",
            format!("{} of the boxes; for the worse 22 %", p(mix.no_simultaneous_open)),
            "64 % of 286 NATs could be punched by TCP in 2005, 82 % of 380 by UDP (Ford, Srisuresh and Kegel): the worse. TCP did no worse than QUIC in 2025 (arXiv 2510.27500): the better. Between them is an assumption".to_owned(),
        ),
        (
            "a SYN that does not get in is answered by a reset",
            format!("{} of the boxes", p(mix.resets)),
            "assumption".to_owned(),
        ),
        (
            "ports and filters for TCP",
            "as the same box has them for UDP; an idle mapping lives four minutes".to_owned(),
            "the first is an assumption; the shortest of 34 home gateways [5]".to_owned(),
        ),
        (
            "IPv6",
            format!("{}; {} of all", places(&mix.ipv6), p(ipv6)),
            "42 % (APNIC Labs) to 50 % (Google) of users, 2026 [1]. The spread is an assumption; home routers and carriers let in answers alone".to_owned(),
        ),
        (
            "behind a carrier's NAT",
            format!("home {}, mobile {}", p(mix.carrier[0]), p(mix.carrier[1])),
            "17 to 18 % of eyeball and over 90 % of cellular ASes [2]; 10 % of 60 fixed ISPs of Europe and the US [3]. Taking ASes for subscribers is an assumption".to_owned(),
        ),
        (
            "another port for each destination",
            format!(
                "home routers {}, carriers' NATs {} on fixed lines and {} on cellular ones",
                p(mix.hard_home), p(mix.hard_fixed_carrier), p(mix.hard_mobile_carrier)
            ),
            "under 2 %, 11 % and about 40 % [2]".to_owned(),
        ),
        (
            "",
            format!("office firewalls {}; data centres: {} with an open address, {} behind a stateful firewall, {} behind a NAT that does",
                p(mix.hard_office), p(mix.cloud[0]), p(mix.cloud[1]), p(1.0 - mix.cloud[0] - mix.cloud[1])),
            "assumption".to_owned(),
        ),
        (
            "how those choose ports",
            format!("{} count (a quarter by two), {} from a block of 256 to 4,000, {} from all",
                p(mix.counting_and_block[0]), p(mix.counting_and_block[1]),
                p(1.0 - mix.counting_and_block[0] - mix.counting_and_block[1])),
            "the three ways are the vendors'; equal shares are an assumption. FortiOS gives 8 blocks of 128 unless told otherwise [4]; RFC 6888 and RFC 7422 leave the size open".to_owned(),
        ),
        (
            "other people's new mappings a second",
            "carriers 1 to 100, offices and data centres 0.5 to 50, evenly over the logarithm".to_owned(),
            "RFC 7422: some 33,000 connections a household and day, 0.4 a second; how many households share an address is an assumption".to_owned(),
        ),
        (
            "what easy NATs let in",
            format!("anything {}, from a known address {}, from a known port {}",
                p(mix.filters[0]), p(mix.filters[1]), p(1.0 - mix.filters[0] - mix.filters[1])),
            "assumption; Linux and what is built on it filters by port".to_owned(),
        ),
        (
            "an idle mapping lives",
            "log-normal around 35 s behind a carrier on a fixed line, 65 s on a cellular one, 90 s at home (30 s at least), 60 s in an office, 120 s in a data centre; 10 to 300 s".to_owned(),
            "35 s and 65 s, 10 to 200 s [2]; the shortest of 34 home gateways kept one 30 s [5]. The rest is an assumption".to_owned(),
        ),
        (
            "the home router maps ports, where no carrier's NAT is before it",
            p(mix.maps_ports),
            "most of 120,000 homes answered no UPnP at all [6]; the figure is an assumption".to_owned(),
        ),
        (
            "of those, 443 as well",
            p(mix.maps_web_port),
            "what OpenWrt and miniupnpd come with refuses ports below 1024, and some routers serve a page of their own there; the figure is an assumption".to_owned(),
        ),
        (
            "a second NAT",
            format!("homes with two routers {}, mobile hosts behind a telephone {}; 464XLAT and NAT64 are left out", p(mix.second_router[0]), p(mix.second_router[1])),
            "assumption".to_owned(),
        ),
        (
            "several external addresses at a time, against RFC 6888 REQ-2",
            format!("{} of the carriers' NATs", p(mix.unpaired)),
            "assumption; seen in the field".to_owned(),
        ),
        (
            "routers that block who sends too early",
            p(mix.punishes),
            "assumption; seen in the field".to_owned(),
        ),
        (
            "round trip between the peers; loss",
            format!("log-normal around 60 ms (5 % above 220 ms); {} of the pairs lose packets, {} on average", p(mix.lossy.0), p(mix.lossy.1)),
            "assumption".to_owned(),
        ),
        (
            "datagrams of 1,200 bytes do not pass",
            format!("{:.1} %", 100.0 * mix.narrow),
            "assumption".to_owned(),
        ),
    ];
    writeln!(
        out,
        "| what is drawn for each end | shares | from |\n|---|---|---|"
    )?;
    for (what, shares, from) in rows {
        writeln!(out, "| {what} | {shares} | {from} |")?;
    }
    writeln!(out, "
[1] blog.apnic.net, \"Google hits 50% IPv6\", April 2026. [2] Richter et al., \"A Multi-perspective Analysis of
Carrier-Grade NAT Deployment\", IMC 2016, arXiv 1605.05606; its shares of hard NATs count the most permissive mapping seen
in an AS. [3] Mandalari et al., \"Tracking the Big NAT across Europe and the U.S.\", arXiv 1704.01296. [4] Fortinet's
FortiOS, `firewall ippool`, `block-size` and `num-blocks-per-user`. [5] Hätönen et al., \"An Experimental Study of Home
Gateway Characteristics\", IMC 2010. [6] DiCioccio et al., \"Probe and Pray: Using UPnP for Home Network Measurements\",
PAM 2012.")
}

fn summary(out: &mut String, surveys: &[(&str, &Survey)]) -> std::fmt::Result {
    writeln!(
        out,
        "\n| mix | pairs | UDP passes at both ends | of these direct | of the others direct | of all direct | median | 90 % within | 97 % within | last two idle minutes |"
    )?;
    writeln!(out, "|---|---|---|---|---|---|---|---|---|---|")?;
    for (name, all) in surveys {
        let udp = all.those(|f| f.udp);
        let direct = udp.those(|f| f.direct.is_some());
        writeln!(
            out,
            "| {name} | {} | {} | {} | {} | **{}** | {} | {} | {} | {} |",
            count(all.fates().len()),
            percent(all.share(|f| f.udp)),
            percent(udp.direct()),
            percent(all.those(|f| !f.udp).direct()),
            percent(all.direct()),
            seconds(&udp, 0.5),
            seconds(&udp, 0.9),
            seconds(&udp, 0.97),
            percent(direct.share(|f| f.lasts)),
        )?;
    }
    Ok(())
}

fn places(out: &mut String, udp: &Survey) -> std::fmt::Result {
    writeln!(
        out,
        "\nShare that goes direct, of the pairs where UDP passes at both ends:\n"
    )?;
    write!(out, "| |")?;
    for place in Place::ALL {
        write!(out, " {} |", place.name())?;
    }
    writeln!(out, "\n|---|{}", "---|".repeat(Place::ALL.len()))?;
    for a in Place::ALL {
        write!(out, "| **{}** |", a.name())?;
        for b in Place::ALL {
            let those = udp.those(|f| f.places == [a, b] || f.places == [b, a]);
            write!(out, " {} |", percent(those.direct()))?;
        }
        writeln!(out)?;
    }
    writeln!(
        out,
        "\n| NATs with another port for each destination | pairs | direct |\n|---|---|---|"
    )?;
    for (hard, name) in ["at neither end", "at one end", "at both ends"]
        .iter()
        .enumerate()
    {
        let those = udp.those(|f| f.hard == hard);
        let share = those.fates().len() as f64 / udp.fates().len().max(1) as f64;
        writeln!(
            out,
            "| {name} | {} | {} |",
            percent(share),
            percent(those.direct())
        )?;
    }
    Ok(())
}

/// What becomes of those that UDP does not join.
fn by_tcp(out: &mut String, all: &Survey) -> std::fmt::Result {
    writeln!(
        out,
        "\n| UDP gets out of at most one end, and | of all pairs | direct | median | 97 % within |\n|---|---|---|---|---|"
    )?;
    let others = all.those(|f| !f.udp);
    let web = others.those(|f| f.web_only);
    let rest = others.those(|f| !f.web_only);
    let rows = [
        (
            "no TCP either but to the ports of the web, at one end or both".to_owned(),
            web,
        ),
        (
            "another port for each destination at neither end".to_owned(),
            rest.those(|f| f.hard == 0),
        ),
        ("at one end".to_owned(), rest.those(|f| f.hard == 1)),
        ("at both ends".to_owned(), rest.those(|f| f.hard == 2)),
    ];
    for (name, those) in rows {
        writeln!(
            out,
            "| {name} | {} | {} | {} | {} |",
            percent(those.fates().len() as f64 / all.fates().len().max(1) as f64),
            percent(those.direct()),
            seconds(&those, 0.5),
            seconds(&those, 0.97),
        )?;
    }
    Ok(())
}

fn techniques(out: &mut String, all: &Survey) -> std::fmt::Result {
    writeln!(
        out,
        "\n| technique that won | of all pairs | median | 97 % within | packets of an end: median | 99 % below |"
    )?;
    writeln!(out, "|---|---|---|---|---|---|")?;
    for (technique, those) in all.by_technique() {
        let packets = those.packets();
        writeln!(
            out,
            "| `{}` | {} | {} | {} | {} | {} |",
            technique.name(),
            percent(those.fates().len() as f64 / all.fates().len() as f64),
            seconds(&those, 0.5),
            seconds(&those, 0.97),
            quantile(&packets, 0.5).unwrap_or(0),
            quantile(&packets, 0.99).unwrap_or(0),
        )?;
    }
    writeln!(
        out,
        "\n| why a pair stays on the relay, as the connector says | of all pairs |\n|---|---|"
    )?;
    for (why, those) in all.by_reason() {
        writeln!(
            out,
            "| {why} | {} |",
            percent(those.fates().len() as f64 / all.fates().len() as f64)
        )?;
    }
    Ok(())
}

fn cost(out: &mut String, all: &Survey) -> std::fmt::Result {
    let packets = all.packets();
    let at = |share| quantile(&packets, share).unwrap_or(0);
    let sockets = all.fates().iter().map(|f| f.sockets).max().unwrap_or(0);
    writeln!(
        out,
        "\nPackets of an end until it is direct, or in its first {} s: median {}, 99 % below {}, at most {}; the cap is 4,000 an\nattempt besides answers. Sockets of an end: at most {sockets}; the cap is 512 besides the session's two.",
        DEADLINE.as_secs(),
        at(0.5),
        at(0.99),
        packets.last().unwrap_or(&0),
    )
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let pairs: u64 = std::env::args().nth(1).map_or(Ok(100_000), |s| s.parse())?;
    let began = Instant::now();
    let published = survey(&Mix::PUBLISHED, pairs);
    eprintln!("{pairs} pairs in {:.0?}", began.elapsed());
    let others = [Mix::PESSIMISTIC, Mix::OPTIMISTIC].map(|mix| survey(&mix, pairs / 5));
    for survey in [&published, &others[0], &others[1]] {
        for fate in survey.those(|f| f.carries != f.direct.is_some()).fates() {
            eprintln!("a path that does not carry: {fate:?}");
        }
    }
    let mut out = String::new();
    writeln!(out)?;
    shares(&mut out, &Mix::PUBLISHED)?;
    summary(
        &mut out,
        &[
            ("as published", &published),
            ("all that is uncertain for the worse", &others[0]),
            ("all that is uncertain for the better", &others[1]),
        ],
    )?;
    writeln!(
        out,
        "\nA pair has {} s to go direct, and idles for {} s then. The rest is of the mix as published.",
        DEADLINE.as_secs(),
        IDLE.as_secs()
    )?;
    places(&mut out, &published.those(|f| f.udp))?;
    by_tcp(&mut out, &published)?;
    techniques(&mut out, &published)?;
    cost(&mut out, &published)?;
    print!("{out}");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/TRAVERSAL.md");
    let page = std::fs::read_to_string(&path)?;
    let (before, rest) = page
        .split_once(BEGIN)
        .ok_or("docs/TRAVERSAL.md has no place for the simulated internet")?;
    let (_, after) = rest
        .split_once(END)
        .ok_or("docs/TRAVERSAL.md has no end of the simulated internet")?;
    std::fs::write(&path, format!("{before}{BEGIN}\n{out}\n{END}{after}"))?;
    Ok(())
}
