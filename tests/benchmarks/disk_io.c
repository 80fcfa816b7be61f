/* Reads or writes a block device past the caches of the kernel, from its start on or at random places, and prints the seconds.
 *
 *   disk_io DEVICE read|write BLOCK COUNT SPAN   SPAN bytes are used; 0: one block behind the other
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static double now(void) {
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    return at.tv_sec + at.tv_nsec / 1e9;
}

int main(int count, char **words) {
    if (count != 6)
        return 2;
    int write_it = !strcmp(words[2], "write");
    size_t block = strtoull(words[3], 0, 10);
    uint64_t blocks = strtoull(words[4], 0, 10), span = strtoull(words[5], 0, 10), seed = 88172645463325252u;
    void *data;
    int device = open(words[1], O_DIRECT | (write_it ? O_WRONLY : O_RDONLY));
    if (device < 0 || posix_memalign(&data, 4096, block))
        return 1;
    for (size_t at = 0; at < block; at++)
        ((char *)data)[at] = at * 7 + 1;
    double start = now();
    for (uint64_t number = 0; number < blocks; number++) {
        seed ^= seed << 13, seed ^= seed >> 7, seed ^= seed << 17;
        off_t at = (span ? seed % (span / block) : number) * block;
        if ((write_it ? pwrite(device, data, block, at) : pread(device, data, block, at)) != (ssize_t)block)
            return 1;
    }
    if (write_it && fdatasync(device))
        return 1;
    printf("%.6f\n", now() - start);
    return 0;
}
