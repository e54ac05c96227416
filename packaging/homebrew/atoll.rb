# Builds Atoll from a checkout, for a tap of one's own:
#
#     brew tap-new local/atoll
#     cp packaging/homebrew/atoll.rb "$(brew --repository local/atoll)/Formula/"
#     HOMEBREW_ATOLL_CHECKOUT="$PWD" brew install --HEAD local/atoll/atoll
#
# There is no released archive to name here, so that only --HEAD installs. The
# helper is not installed: what runs as root must not lie where a user may
# write, and all of Homebrew's folder is a user's. See docs/macos.md.
class Atoll < Formula
  desc "Virtual machines on a network of their own, and on yours"
  homepage "file://#{ENV.fetch("HOMEBREW_ATOLL_CHECKOUT", "/nowhere")}"
  license any_of: ["Apache-2.0", "MIT"]
  head "file://#{ENV.fetch("HOMEBREW_ATOLL_CHECKOUT", "/nowhere")}", using: :git

  depends_on "rust" => :build
  depends_on "qemu"

  def install
    odie "set HOMEBREW_ATOLL_CHECKOUT to the folder of a checkout" unless ENV.key?("HOMEBREW_ATOLL_CHECKOUT")

    system "cargo", "install", *std_cargo_args(path: "crates/cli")
    generate_completions_from_executable(bin/"atoll", "completions", shells: [:bash, :zsh, :fish])

    # vmnet without root, from macOS 26 on. An ad-hoc signature is enough, and Homebrew keeps its entitlements when it signs again.
    return unless OS.mac?

    system "codesign", "--force", "--sign", "-",
           "--entitlements", "packaging/macos/entitlements.plist", bin/"atoll"
  end

  test do
    assert_match "atoll", shell_output("#{bin}/atoll --version")
    assert_match "machines", shell_output("#{bin}/atoll schema")
  end
end
