/* main.c - the table of commands. Everything else of the program hangs on it. */
#include "cli.h"

#include <locale.h>
#include <signal.h>
#include <string.h>

const command *const cli_commands[] = {
    &cmd_chat,     &cmd_run,    &cmd_serve,    &cmd_info,   &cmd_convert,
    &cmd_quantize, &cmd_pack,   &cmd_tokenize, &cmd_logits, &cmd_perplexity,
    &cmd_ingest,   &cmd_bench,  &cmd_loadtest, &cmd_help,   NULL,
};

const command *cli_find_command(const char *name) {
    for (size_t i = 0; cli_commands[i]; i++) {
        if (strcmp(cli_commands[i]->name, name) == 0) return cli_commands[i];
    }
    return NULL;
}

int cli_unknown_command(const char *name) {
    nearest n = {0};
    for (size_t i = 0; cli_commands[i]; i++) cli_nearest(&n, name, cli_commands[i]->name);
    if (n.best) {
        return cli_fail(
            EXIT_USAGE,
            T("unknown command '%s'; did you mean rwkv %s?", "未知命令 '%s'；是否想用 rwkv %s？"),
            name, n.best);
    }
    return cli_fail(
        EXIT_USAGE,
        T("unknown command '%s'; rwkv help lists them", "未知命令 '%s'；rwkv help 列出所有命令"),
        name);
}

static int dispatch(int argc, char **argv) {
    if (argc > 2 && strcmp(argv[1], "--lang") == 0) {
        cli_set_lang(strncmp(argv[2], "zh", 2) == 0 ? LANG_ZH : LANG_EN);
        argc -= 2;
        argv += 2;
    }
    if (argc < 2) {
        cli_print_help(stderr, NULL);
        return EXIT_USAGE;
    }
    const char *name = argv[1];
    if (strcmp(name, "--version") == 0 || strcmp(name, "-V") == 0) {
        printf("rwkv %s\n", rwkv_version());
        return EXIT_OK;
    }
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0) name = "help";
    const command *c = cli_find_command(name);
    return c ? c->run(argc - 1, argv + 1) : cli_unknown_command(name);
}

/* A reader that goes away, or a limit on the size of files, must not kill a program that still has
 * a state to save or a file to remove: writes fail with EPIPE and EFBIG instead. LC_NUMERIC stays
 * "C" so that numbers have points everywhere. */
int main(int argc, char **argv) {
    setlocale(LC_CTYPE, "");
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN);
    return cli_close_output(dispatch(argc, argv));
}
