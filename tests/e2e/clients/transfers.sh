# Programs that carry something: each over both families.
. "${0%/*}/kit.sh"

for address in 198.18.8.2 2001:db8:8::2; do
    for way in "" -R "-u -b 20M" "-u -b 20M -R"; do
        # The server takes one test at a time, and may not be done with the last one.
        until_has "iperf Done." iperf3 -c $address -n 4M $way
    done
done

for address in 198.18.7.2 2001:db8:7::2; do
    has "$(printf 'one\ntwo\n' | timeout 20 nc -u -w 2 $address 7007)" "one" "two"
done

# What is not understood is answered in words, and the end of either side reaches the other.
said=$(printf 'question' | timeout 20 nc -N 198.18.8.2 80 || true)
has "$said" "400 Bad Request"
