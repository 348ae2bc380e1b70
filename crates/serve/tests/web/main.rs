//! The server over a socket, and its page in Chromium, before a service that computes nothing.

mod common;
mod http;
mod page;
