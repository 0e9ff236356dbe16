#include "cmd/secret_key.h"

#include "cmd/cmd.h"

int secret_key_load(const char *name, const char *option, const char *path,
                    struct config_secret *ret_secret)
{
    char problem[256];
    if (config_is_secret_text(path))
        return cmd_fail(name, "%s: is a secret itself and not the path of a file", option);
    if (config_read_secret(path, ret_secret, problem, sizeof(problem)) < 0)
        return cmd_fail(name, "%s: %s %s", option, path, problem);
    return 0;
}
