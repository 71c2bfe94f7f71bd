//! The network that other tests run on does what it says.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test stops at what is unexpected, and prints what it measured"
)]

#[path = "common/netns.rs"]
mod netns;

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use netns::{Host, Lan};

/// Runs in a host: answers what comes, until it is killed.
#[test]
#[ignore = "a part of the tests below, which run it on a host"]
fn echo() {
    let socket = UdpSocket::bind("[::]:4000").unwrap();
    println!("listening");
    let mut bytes = [0; 64];
    while let Ok((len, from)) = socket.recv_from(&mut bytes) {
        let _ = socket.send_to(&bytes[..len], from);
    }
}

/// Runs in a host: asks the address in the environment and succeeds if it answers.
#[test]
#[ignore = "a part of the tests below, which run it on a host"]
fn ask() {
    let to: SocketAddr = std::env::var("ASK").unwrap().parse().unwrap();
    let socket = UdpSocket::bind("[::]:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    let began = Instant::now();
    while began.elapsed() < Duration::from_millis(1_000) {
        // Without a link it says so: ask again all the same.
        if socket.send_to(b"?", to).is_ok() && socket.recv(&mut [0; 64]).is_ok() {
            return;
        }
    }
    panic!("no answer");
}

fn this_test(host: &Host<'_>, part: &str) -> Command {
    let mut command = host.command(std::env::current_exe().unwrap().to_str().unwrap());
    command.args(["--exact", part, "--ignored", "--nocapture", "--test-threads=1"]);
    command
}

struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn answers(from: &Host<'_>, to: SocketAddr) -> bool {
    let to = match to.ip() {
        IpAddr::V4(ip) => SocketAddr::new(ip.to_ipv6_mapped().into(), to.port()),
        IpAddr::V6(_) => to,
    };
    let mut command = this_test(from, "ask");
    command.env("ASK", to.to_string()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().unwrap().success()
}

#[test]
fn hosts_reach_each_other_until_the_link_is_cut() {
    let lan = match Lan::new() {
        Ok(lan) => lan,
        Err(why) => return println!("skipped: {why}"),
    };
    let (ana, bo) = (lan.host("ana"), lan.host("bo"));
    let mut listening = this_test(&bo, "echo");
    let mut child = Killed(listening.stdout(Stdio::piped()).spawn().unwrap());
    let lines = std::io::BufReader::new(child.0.stdout.take().unwrap());
    assert!(std::io::BufRead::lines(lines).any(|line| line.unwrap().contains("listening")));
    let (four, loopback) = (SocketAddr::from((bo.ip(), 4000)), "127.0.0.1:4000".parse().unwrap());
    assert!(answers(&ana, four));
    assert!(answers(&bo, loopback));
    assert!(!answers(&ana, loopback), "a host of its own");
    for cut in [Host::cut, Host::silence] {
        cut(&bo);
        assert!(!answers(&ana, four));
        bo.restore();
        assert!(answers(&ana, four));
    }
}

#[test]
fn networks_do_not_meet() {
    let (Ok(one), Ok(other)) = (Lan::new(), Lan::new()) else { return println!("skipped") };
    let (ana, bo) = (one.host("ana"), other.host("bo"));
    assert_eq!(ana.ip(), bo.ip());
    let _listening = Killed(this_test(&bo, "echo").stdout(Stdio::null()).spawn().unwrap());
    assert!(!answers(&ana, SocketAddr::from((bo.ip(), 4000))));
}
