//! Several machines on one network, for tests: each is a network namespace with an `eth0` that leads to a bridge.
//!
//! ```ignore
//! let lan = Lan::new()?;                       // Err says why this machine cannot do it: print it and skip
//! let (ana, bo) = (lan.host("ana"), lan.host("bo"));
//! ana.command("lansync").arg("up").spawn()?;   // runs as if on Ana's machine
//! bo.cut();                                    // the cable is pulled; `restore` puts it back
//! ```
//!
//! Hosts have 10.77.0.1, 10.77.0.2, ... and fe80::1, fe80::2, ... in the order in which they are made, and nothing
//! leads out. Namespaces have no names: each is held by a process of ours (`cat`, waiting for input that never
//! comes), so networks of several tests never meet, and all is gone when the test ends in whatever way, since
//! the input ends with it. Without root a user namespace is used; programs then see themselves as root.
//!
//! Needed: Linux, `unshare` and `nsenter` (util-linux), `ip` (iproute2), and the kernel's veth and bridge.

// Each test file compiles this for itself and uses a part.
#![allow(dead_code, unreachable_pub)]

use std::cell::Cell;
use std::fmt;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::process::{Child, Command, Stdio};

/// Why there is no such network on this machine.
#[derive(Debug)]
pub struct Missing(String);

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A namespace, held by a process.
struct Namespace {
    holder: Child,
    /// In a user namespace, so that no privileges are needed.
    user: bool,
}

impl Namespace {
    /// Starts `command`, which is to end up as `cat` in a new namespace.
    fn hold(mut command: Command, user: bool) -> Result<Self, Missing> {
        let tool = command.get_program().to_string_lossy().into_owned();
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let holder = command.spawn().map_err(|error| Missing(format!("{tool}: {error}")))?;
        let mut held = Self { holder, user };
        // An echo shows that the namespace is there.
        let stdin = held.holder.stdin.as_mut().expect("piped");
        let asked = stdin.write_all(b"\n").and_then(|()| stdin.flush());
        let echo = held.holder.stdout.as_mut().expect("piped").read_exact(&mut [0]);
        if asked.and(echo).is_err() {
            let mut why = String::new();
            let _ = held.holder.stderr.as_mut().expect("piped").read_to_string(&mut why);
            return Err(Missing(format!("{tool}: {}", why.trim())));
        }
        Ok(held)
    }

    /// A command that runs `program` in the namespace.
    fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--target={}", self.holder.id())).arg("--net");
        if self.user {
            command.args(["--user", "--preserve-credentials"]);
        }
        command.args(["--", program]);
        command
    }

    /// Runs lines of `ip` in the namespace.
    fn ip(&self, lines: &str) -> Result<(), Missing> {
        self.batch("ip", lines)
    }

    /// Runs lines of a program of iproute2 in the namespace.
    fn batch(&self, program: &str, lines: &str) -> Result<(), Missing> {
        let mut command = self.command(program);
        command.args(["-batch", "-"]).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(|error| Missing(format!("nsenter: {error}")))?;
        let written = child.stdin.take().expect("piped").write_all(lines.as_bytes());
        let output = child.wait_with_output().map_err(|error| Missing(format!("{program}: {error}")))?;
        if written.is_ok() && output.status.success() {
            return Ok(());
        }
        Err(Missing(format!("{program}: {}", String::from_utf8_lossy(&output.stderr).trim())))
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // It may be gone already; either way nothing is left of it.
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

/// A local network. It ends when it is dropped.
pub struct Lan {
    switch: Namespace,
    hosts: Cell<u8>,
}

impl Lan {
    /// A network without hosts.
    ///
    /// # Errors
    /// [`Missing`] where this machine does not allow or has not got what is needed.
    pub fn new() -> Result<Self, Missing> {
        if !cfg!(target_os = "linux") {
            return Err(Missing("network namespaces are Linux's".to_owned()));
        }
        if let Err(error) = Command::new("ip").arg("-V").output() {
            return Err(Missing(format!("ip (iproute2): {error}")));
        }
        let unshare = |args: &[&str]| {
            let mut command = Command::new("unshare");
            command.args(args).args(["--net", "--", "cat"]);
            command
        };
        let switch = Namespace::hold(unshare(&[]), false)
            .or_else(|_| Namespace::hold(unshare(&["--user", "--map-root-user"]), true))?;
        // Snooping would hold multicast back from those who have not asked yet.
        switch.ip("link add br0 type bridge mcast_snooping 0\nlink set lo up\nlink set br0 up\n")?;
        Ok(Self { switch, hosts: Cell::new(0) })
    }

    /// A further host, on the network.
    ///
    /// # Panics
    /// Where that fails: since there is a network at all, it should not.
    pub fn host(&self, name: &str) -> Host<'_> {
        self.plug(name, |number, pid| {
            let veth = format!("link add p{number} type veth peer name eth0 netns {pid}\n");
            self.switch.ip(&format!("{veth}link set p{number} master br0 up\n")).map(|()| None)
        })
    }

    /// One at the end of a cable that each frame takes so many milliseconds to pass, either way.
    ///
    /// # Panics
    /// Where that fails: `/dev/net/tun` and Python are needed.
    pub fn host_afar(&self, name: &str, millis: u32) -> Host<'_> {
        self.plug(name, |number, pid| {
            let mut command = self.switch.command("python3");
            command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/benches/figures/delay.py"));
            command.args([format!("p{number}"), format!("q{number}"), millis.to_string()]);
            command.stdin(Stdio::piped()).stdout(Stdio::piped());
            let mut cable = command.spawn().map_err(|error| Missing(format!("python3: {error}")))?;
            let ready = cable.stdout.as_mut().expect("piped").read_exact(&mut [0; 6]);
            ready.map_err(|_| Missing("delay.py ended".to_owned()))?;
            let plugged = format!("link set q{number} netns {pid} name eth0\nlink set p{number} master br0 up\n");
            self.switch.ip(&plugged).map(|()| Some(cable))
        })
    }

    /// Makes a host; `cable` lays its `eth0` into the namespace that a process holds.
    fn plug(&self, name: &str, cable: impl Fn(u8, u32) -> Result<Option<Child>, Missing>) -> Host<'_> {
        let number = self.hosts.get() + 1;
        self.hosts.set(number);
        let mut command = self.switch.command("unshare");
        command.args(["--net", "--", "cat"]);
        let made = Namespace::hold(command, self.switch.user).and_then(|namespace| {
            let cable = cable(number, namespace.holder.id())?;
            // Addresses are usable at once: nobody else can have them.
            namespace.ip(&format!(
                "link set lo up\nlink set eth0 addrgenmode none\naddr add 10.77.0.{number}/24 brd + dev eth0\n\
                 addr add fe80::{number:x}/64 dev eth0 nodad\nlink set eth0 up\n"
            ))?;
            Ok((namespace, cable))
        });
        match made {
            Ok((namespace, cable)) => Host { lan: self, namespace, cable, name: name.to_owned(), number },
            Err(why) => panic!("no host {name}: {why}"),
        }
    }
}

/// A machine on the network. It is switched off when it is dropped; what still runs in it is killed only if it
/// belongs to the test, so wait for children or kill them.
pub struct Host<'a> {
    lan: &'a Lan,
    namespace: Namespace,
    /// Who delays its frames, if anybody does.
    cable: Option<Child>,
    name: String,
    number: u8,
}

impl Drop for Host<'_> {
    fn drop(&mut self) {
        if let Some(mut cable) = self.cable.take() {
            let _ = cable.kill();
            let _ = cable.wait();
        }
    }
}

impl Host<'_> {
    /// The name it was given.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its IPv4 address.
    pub fn ip(&self) -> Ipv4Addr {
        Ipv4Addr::new(10, 77, 0, self.number)
    }

    /// Its IPv6 address, which holds on the link only.
    pub fn link_local(&self) -> Ipv6Addr {
        Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, self.number.into())
    }

    /// A command that runs `program` on this host: in its network, with the files and the environment of the test.
    /// The child's process id is the program's.
    pub fn command(&self, program: &str) -> Command {
        self.namespace.command(program)
    }

    /// Makes its cable carry so many Mbit/s each way.
    ///
    /// # Errors
    /// [`Missing`] where this machine cannot: the kernel's `sch_tbf` is needed.
    pub fn shape(&self, mbit: u32) -> Result<(), Missing> {
        let line =
            |device: &str| format!("qdisc replace dev {device} root tbf rate {mbit}mbit burst 256kb latency 100ms\n");
        self.namespace.batch("tc", &line("eth0"))?;
        self.lan.switch.batch("tc", &line(&format!("p{}", self.number)))
    }

    /// How many bytes have left this host.
    ///
    /// # Panics
    /// Where that cannot be read.
    pub fn sent(&self) -> u64 {
        let read = self.command("cat").arg("/proc/net/dev").output().expect("nsenter runs");
        let text = String::from_utf8_lossy(&read.stdout);
        let line = text.lines().find_map(|line| line.trim_start().strip_prefix("eth0:")).expect("it has an eth0");
        // The ninth number; the first eight are of what was received.
        line.split_whitespace().nth(8).and_then(|sent| sent.parse().ok()).expect("a number")
    }

    /// Pulls the cable: the host notices that it has no link.
    pub fn cut(&self) {
        self.port("down");
    }

    /// Loses all its packets on the way, which the host does not notice.
    pub fn silence(&self) {
        self.port("nomaster");
    }

    /// Undoes `cut` and `silence`.
    pub fn restore(&self) {
        self.port("master br0 up");
    }

    fn port(&self, state: &str) {
        let done = self.lan.switch.ip(&format!("link set p{} {state}\n", self.number));
        done.unwrap_or_else(|why| panic!("the port of {}: {why}", self.name));
    }
}
