//! Reading the file of rules.

use crate::link::{DomainName, NoDomain};
use crate::net::{InterfaceName, shortened};

use super::{Mode, Names, Pattern, Policy, PolicyError, Rule, Way, Who};

/// More rules than anybody reads.
const MOST: usize = 1000;

/// What is wrong with a line, and what would be right.
type Mistake = (String, String);

const SHAPE: &str = "a line is `allow WHO MODE [KEY=VALUE[,VALUE]…]…`";

pub(super) fn parse(file: &str, text: &str, names: &Names) -> Result<Policy, Vec<PolicyError>> {
    let mut rules = Vec::new();
    let mut mistakes = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let content = line.split('#').next().unwrap_or_default().trim();
        if content.is_empty() {
            continue;
        }
        let rule = if rules.len() < MOST {
            rule(content, names)
        } else {
            Err((
                format!("there are more than {MOST} rules"),
                "name groups instead of users".to_owned(),
            ))
        };
        match rule {
            Ok(rule) => rules.push(rule),
            Err((sentence, hint)) => mistakes.push(PolicyError {
                file: file.to_owned(),
                line: index + 1,
                sentence,
                hint,
            }),
        }
    }
    if mistakes.is_empty() {
        Ok(Policy { rules })
    } else {
        Err(mistakes)
    }
}

fn rule(line: &str, names: &Names) -> Result<Rule, Mistake> {
    let mut words = line.split_whitespace();
    let first = words.next().unwrap_or_default();
    if first != "allow" {
        return Err((format!("{:?} begins no rule", shortened(first)), SHAPE.to_owned()));
    }
    let who = who(words.next().unwrap_or_default(), names)?;
    let mode = mode(words.next().unwrap_or_default())?;
    let mut rule = Rule {
        who,
        mode,
        interfaces: Vec::new(),
        ways: Vec::new(),
        subnets: Vec::new(),
        prefixes: Vec::new(),
        addresses: Vec::new(),
        domains: Vec::new(),
        guests: false,
    };
    for word in words {
        option(&mut rule, word)?;
    }
    finish(rule)
}

fn who(word: &str, names: &Names) -> Result<Who, Mistake> {
    if word == "anyone" {
        return Ok(Who::Anyone);
    }
    let number = |kind: &str, name: &str, known: Option<&u32>| {
        let number = name.parse().ok().or_else(|| known.copied());
        number.ok_or_else(|| {
            let sentence = format!("there is no {kind} {:?} in /etc", shortened(name));
            (
                sentence,
                format!("one from another directory is named by number: {kind}=1234"),
            )
        })
    };
    match word.split_once('=') {
        Some(("user", name)) => number("user", name, names.users.get(name)).map(Who::User),
        Some(("group", name)) => number("group", name, names.groups.get(name)).map(Who::Group),
        _ => Err((
            format!("{:?} does not say who", shortened(word)),
            "write user=NAME, group=NAME or anyone".to_owned(),
        )),
    }
}

fn mode(word: &str) -> Result<Mode, Mistake> {
    match word {
        "bridged" => Ok(Mode::Bridged),
        "shared" => Ok(Mode::Shared),
        "host" => Ok(Mode::Host),
        "link" => Ok(Mode::Link),
        _ => Err((
            format!("{:?} is no mode", shortened(word)),
            "the modes are bridged, shared, host and link; `user` needs no helper".to_owned(),
        )),
    }
}

fn option(rule: &mut Rule, word: &str) -> Result<(), Mistake> {
    let keys = match rule.mode {
        Mode::Bridged => "interface, via and address",
        Mode::Shared => "subnet, prefix and interface",
        Mode::Host => "subnet and prefix",
        Mode::Link => "subnet, prefix, domain and guests",
    };
    let (key, values) = word.split_once('=').unwrap_or((word, ""));
    let foreign = || {
        let sentence = format!("{:?} is no key of {}", shortened(key), rule.mode);
        (sentence, format!("{} takes {keys}", rule.mode))
    };
    let is_fit = match key {
        "interface" => matches!(rule.mode, Mode::Bridged | Mode::Shared),
        "domain" | "guests" => rule.mode == Mode::Link,
        "via" | "address" => rule.mode == Mode::Bridged,
        "subnet" | "prefix" => rule.mode != Mode::Bridged,
        _ => false,
    };
    if !is_fit {
        return Err(foreign());
    }
    for value in values.split(',') {
        match key {
            "interface" => rule.interfaces.push(pattern(value)?),
            "via" => rule.ways.push(way(value)?),
            "address" => rule.addresses.push(range(value, "address=192.168.1.64/28")?),
            "subnet" => rule.subnets.push(range(value, "subnet=192.168.64.0/20")?),
            "domain" => rule.domains.push(domain(value)?),
            "guests" => rule.guests = may_begin(value)?,
            _ => rule.prefixes.push(range(value, "prefix=fd00:64::/32")?),
        }
    }
    Ok(())
}

fn domain(word: &str) -> Result<DomainName, Mistake> {
    word.parse()
        .map_err(|error: NoDomain| (error.to_string(), "for example domain=lab.internal".to_owned()))
}

fn may_begin(word: &str) -> Result<bool, Mistake> {
    if word == "begin" {
        return Ok(true);
    }
    let sentence = format!("{:?} does not say what guests may", shortened(word));
    Err((sentence, "write guests=begin, or leave it out".to_owned()))
}

fn pattern(word: &str) -> Result<Pattern, Mistake> {
    let (begin, is_open) = word
        .strip_suffix('*')
        .map_or((word, false), |begin| (begin, true));
    let is_name = begin.parse::<InterfaceName>().is_ok();
    if is_name || is_open && begin.is_empty() {
        return Ok(Pattern {
            begin: begin.to_owned(),
            is_open,
        });
    }
    let sentence = format!("{:?} is no interface's name", shortened(word));
    Err((
        sentence,
        "write a name or a beginning: interface=br0 or interface=enp*".to_owned(),
    ))
}

fn way(word: &str) -> Result<Way, Mistake> {
    let ways = [Way::Bridge, Way::NewBridge, Way::Macvtap, Way::ProxyArp];
    ways.into_iter()
        .find(|way| way.to_string() == word)
        .ok_or_else(|| {
            let sentence = format!("{:?} is no way to a LAN", shortened(word));
            (
                sentence,
                "the ways are bridge, new-bridge, macvtap and proxy-arp".to_owned(),
            )
        })
}

fn range<T: std::str::FromStr<Err = crate::WordError>>(word: &str, example: &str) -> Result<T, Mistake> {
    word.parse()
        .map_err(|error: crate::WordError| (error.to_string(), format!("for example {example}")))
}

/// What only the whole line tells.
fn finish(mut rule: Rule) -> Result<Rule, Mistake> {
    if rule.mode != Mode::Bridged {
        return Ok(rule);
    }
    if rule.interfaces.is_empty() {
        let sentence = "bridged without an interface allows nothing".to_owned();
        return Err((
            sentence,
            "name the bridge or the network card: interface=br0".to_owned(),
        ));
    }
    let answers = rule.ways.contains(&Way::ProxyArp);
    if answers && rule.addresses.is_empty() {
        let sentence = "proxy-arp without addresses allows nothing".to_owned();
        return Err((
            sentence,
            "say which may be answered for: address=192.168.1.64/28".to_owned(),
        ));
    }
    if !answers && !rule.addresses.is_empty() {
        let sentence = "addresses are answered for by proxy-arp only".to_owned();
        return Err((
            sentence,
            "add via=proxy-arp, or leave the addresses out".to_owned(),
        ));
    }
    if rule.ways.is_empty() {
        rule.ways = vec![Way::Bridge, Way::Macvtap];
    }
    Ok(rule)
}
