//! One end of a TCP connection, for a namespace: `peer connect ADDRESS:PORT STEP…` or `peer listen PORT STEP…`. Or a server that
//! says at which of its addresses it was asked, until it is killed: `peer answer ADDRESS:PORT…`. Or a client of that, which asks for so many
//! seconds and tells the longest time in milliseconds without an answer, and how many came: `peer gap ADDRESS:PORT SECONDS`. Or a member of
//! a multicast group on an interface: `peer hear-group GROUP:PORT INTERFACE`, which answers the first message and ends; and who speaks to it until it is
//! answered: `peer ask-group GROUP:PORT INTERFACE WORDS`. The interface is a number.
//! Or a server that tells each client where it sees it, `peer tell ADDRESS:PORT…`, and a client of that: `peer ask OWN-ADDRESS:PORT ADDRESS:PORT`.
//!
//! It writes what it met to its standard output; `listening` before that when it listens.

#![expect(clippy::print_stdout, reason = "its output is what it is for")]

use atoll_e2e::{answer, ask_who, hear_one, join_group, longest_gap, play, steps, tell_group, tell_who};
use std::env;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [how, place, rest @ ..] = &arguments[..] else {
        return Err("usage: peer connect|listen PLACE STEP…, or peer answer PLACE…".into());
    };
    if how == "answer" {
        return serve(&arguments[1..], answer);
    }
    if how == "tell" {
        return serve(&arguments[1..], tell_who);
    }
    if how == "ask" {
        println!("{}", ask_who(place.parse()?, rest.join(" ").parse()?)?);
        return Ok(());
    }
    if how == "gap" {
        let time = std::time::Duration::from_secs(rest.join(" ").parse()?);
        let (gap, answers) = longest_gap(place.parse()?, time)?;
        println!("gap {} {answers}", gap.as_millis());
        return Ok(());
    }
    if how == "hear-group" {
        let socket = join_group(place.parse()?, rest.join(" ").parse()?)?;
        println!("member");
        println!("heard {}", hear_one(&socket)?);
        return Ok(());
    }
    if let ("ask-group", [interface, words @ ..]) = (how.as_str(), rest) {
        let from = tell_group(place.parse()?, interface.parse()?, &words.join(" "))?;
        println!("answered by {}", from.ip());
        return Ok(());
    }
    let steps = steps(&rest.join(" "))?;
    let stream = match how.as_str() {
        "listen" => accept(place),
        _ => TcpStream::connect(place.as_str()),
    };
    match stream {
        Ok(stream) => println!("{}", play(stream, &steps)),
        Err(error) => println!("{:?}", error.kind()),
    }
    Ok(())
}

fn serve(
    places: &[String],
    start: impl Fn(&[SocketAddr]) -> io::Result<()>,
) -> Result<(), Box<dyn std::error::Error>> {
    let addresses: Result<Vec<_>, _> = places.iter().map(|place| place.parse()).collect();
    start(&addresses?)?;
    println!("listening");
    loop {
        std::thread::park();
    }
}

fn accept(port: &str) -> io::Result<TcpStream> {
    let listener = TcpListener::bind(format!("0.0.0.0:{port}"))?;
    println!("listening");
    Ok(listener.accept()?.0)
}
