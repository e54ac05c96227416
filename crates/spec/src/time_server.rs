//! Whether a network's gateway is a time server.

use std::fmt;
use std::str::FromStr;

use crate::hardware::{UnknownWord, word_list};
use crate::text::Text;

word_list!(
    /// Whether the gateway hands on the host's time by NTP.
    #[derive(Default)]
    TimeServer, what: "kind of time server", expected: "auto, always or off",
    {
        /// It does, and says so where nobody keeps the host's clock in time: clients ask another server then.
        #[default]
        Auto = "auto",
        /// It does, and the host's clock counts as right whoever keeps it.
        Always = "always",
        /// It does not.
        Off = "off",
    }
);
