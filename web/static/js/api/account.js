/** The calls about accounts: sign-in, the password, the logins. */

/**
 * @typedef {{user_id: string, email: string | null}} User
 * @typedef {{id: string, created_at: string, last_used_at: string, expires_at: string, current: boolean}} Login
 * @typedef {{id: string, name: string, created_at: string, last_used_at: string | null}} ApiKey
 */

export class AccountApi {
  /** @param {import("./client.js").ApiClient} client */
  constructor(client) {
    this.client = client;
  }

  /** @param {string} email @param {string} password @returns {Promise<User>} */
  async register(email, password) {
    return (await this.client.call("POST", "/auth/register", { body: { email, password } })).data;
  }

  /** @param {string} email @param {string} password @returns {Promise<User>} */
  async signIn(email, password) {
    return (await this.client.call("POST", "/auth/login", { body: { email, password } })).data;
  }

  async signOut() {
    await this.client.call("POST", "/auth/logout", { body: {} });
  }

  /** @returns {Promise<User>} */
  async whoAmI() {
    return (await this.client.call("GET", "/auth/me")).data;
  }

  /** @param {string} current @param {string} chosen @param {boolean} endOthers */
  async changePassword(current, chosen, endOthers) {
    await this.client.call("POST", "/auth/password", {
      body: { current_password: current, new_password: chosen, end_other_logins: endOthers },
    });
  }

  /** @returns {Promise<Login[]>} */
  async logins() {
    return (await this.client.call("GET", "/auth/logins")).data.logins;
  }

  /** @param {string} id */
  async endLogin(id) {
    await this.client.call("DELETE", `/auth/logins/${id}`);
  }

  /** @returns {Promise<ApiKey[]>} */
  async keys() {
    return (await this.client.call("GET", "/auth/keys")).data.keys;
  }

  /** @param {string} name @returns {Promise<{id: string, key: string}>} the key, which no other call tells */
  async createKey(name) {
    return (await this.client.call("POST", "/auth/keys", { body: { name } })).data;
  }

  /** @param {string} id */
  async revokeKey(id) {
    await this.client.call("DELETE", `/auth/keys/${id}`);
  }

  /** An account that signs in elsewhere has no password to give. @param {string} password */
  async deleteAccount(password) {
    await this.client.call("DELETE", "/auth/me", { body: password ? { password } : {} });
  }
}
