/* make_model.c - the models of the server's scripts: tiny, random, with a byte vocabulary.
 *     make_model FOLDER   writes model.pth, other.pth (other weights) and slow.pth (larger) */
#include "../support_models.h"

#include <sys/stat.h>

static void save(const char *folder, const char *name, const test_shape *shape) {
    char path[1024];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    test_model *m = test_model_new(shape);
    test_model_save(m, AS_PTH, RW_F32, path);
    test_model_free(m);
}

int main(int argc, char **argv) {
    if (argc != 2) return 1;
    mkdir(argv[1], 0755);
    save(argv[1], "model.pth", &(test_shape){.version = "7", .V = 256, .D = 32, .seed = 7});
    save(argv[1], "other.pth", &(test_shape){.version = "7", .V = 256, .D = 32, .seed = 8});
    save(argv[1], "slow.pth",
         &(test_shape){.version = "7", .V = 256, .D = 512, .n_layer = 6, .seed = 9});
    return 0;
}
