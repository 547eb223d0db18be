/* help.c - rwkv help [COMMAND]: everything shown comes from the tables of commands and options. */
#include "cli.h"

static void print_commands(FILE *to) {
    fputs(T("Usage: rwkv COMMAND [ARGUMENTS] [OPTIONS]\n\n"
            "Runs RWKV language models, versions 4 to 7, on the CPU.\n\nCommands:\n",
            "用法：rwkv 命令 [参数] [选项]\n\n在 CPU 上运行 RWKV 语言模型（第 4 至 7 "
            "代）。\n\n命令：\n"),
          to);
    for (size_t i = 0; cli_commands[i]; i++) {
        const command *c = cli_commands[i];
        fprintf(to, "  %-11s %s\n", c->name, T(c->en, c->zh));
    }
    fputs(
        T("\nrwkv help COMMAND explains one; rwkv --version; --lang en|zh chooses the language.\n",
          "\nrwkv help 命令：查看该命令的说明；rwkv --version：版本；--lang en|zh：选择语言。\n"),
        to);
}

static void print_option(FILE *to, const option_spec *o) {
    char left[64], letter[8] = "    ";
    if (o->kind == OPT_HEADING) {
        fprintf(to, T("\n%s:\n", "\n%s：\n"), T(o->en, o->zh));
        return;
    }
    if (o->letter) snprintf(letter, sizeof letter, "-%c, ", o->letter);
    snprintf(left, sizeof left, "%s--%s%s%s", letter, o->name, o->value ? " " : "",
             o->value ? o->value : "");
    fprintf(to, "  %-24s %s\n", left, T(o->en, o->zh));
}

void cli_print_help(FILE *to, const command *c) {
    if (!c) {
        print_commands(to);
        return;
    }
    fprintf(to, T("Usage: rwkv %s %s\n\n%s\n\nOptions:\n", "用法：rwkv %s %s\n\n%s\n\n选项：\n"),
            c->name, c->args, T(c->en, c->zh));
    for (const option_spec *o = c->options ? c->options() : NULL; o && o->name; o++)
        print_option(to, o);
    fputc('\n', to);
    for (const option_spec *o = cli_common_specs(); o->name; o++) print_option(to, o);
    if (c->more_en) fprintf(to, "\n%s\n", T(c->more_en, c->more_zh));
}

static int run(int argc, char **argv) {
    static const option_spec none[] = {{0}};
    int n;
    bool helped;
    int code = cli_parse("help", none, argc, argv, &n, &helped);
    if (code || (helped && n == 0)) return code;
    if (n == 0) {
        cli_print_help(stdout, NULL);
        return EXIT_OK;
    }
    const command *c = cli_find_command(argv[1]);
    if (!c) return cli_unknown_command(argv[1]);
    cli_print_help(stdout, c);
    return EXIT_OK;
}

const command cmd_help = {
    "help", "[COMMAND]", "explain the program or one command", "说明本程序或某个命令", run, NULL,
    NULL,   NULL,
};
